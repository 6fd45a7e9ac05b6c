// Draws the figure that is this component's value, as JSON. What is out of sight has no width, and waits.
const place = () => element.querySelector('.figure');
let drawn = null;   // the value that is drawn, or about to be

const draw = async () => {
  const value = props.value || null;
  if (value === drawn || (value && !place().clientWidth)) return;
  drawn = value;
  const Plotly = await window.lora_da_bench.plotly();
  if (value !== drawn) return;   // a newer one has come
  if (!value) { Plotly.purge(place()); return; }
  const { data, layout } = JSON.parse(value);
  if (layout.meta?.width) {   // pictures keep their shape, and on a phone a size at which they can be seen
    const width = Math.max(720, place().clientWidth);
    if (width > place().clientWidth) layout.width = width;
    layout.height *= Math.min(1, width / layout.meta.width);
  }
  if (place().clientWidth < 500) layout.margin = { ...layout.margin, l: 55, r: 5 };
  layout.font = { ...layout.font, family: getComputedStyle(element).fontFamily };
  const file = { filename: element.closest('.block[id]')?.id ?? 'figure' };   // that the camera saves
  await Plotly.react(place(), data, layout, { responsive: true, displaylogo: false, toImageButtonOptions: file });
};

watch('value', draw);
new ResizeObserver(() => { if (props.value !== drawn) draw(); else if (drawn) window.Plotly?.Plots.resize(place()); }).observe(place());
draw();
