// Draws figures, the values of `figure_place`. What is out of sight has no width, and waits.
(() => {
  const bench = window.lora_da_bench ??= {};

  bench.plotly = () => bench.loading ??= new Promise((loaded, failed) => {
    const script = Object.assign(document.createElement('script'), { src: '/plotly.js', onload: () => loaded(window.Plotly), onerror: failed });
    document.head.append(script);
  });

  const shaped = (layout, element, width) => {   // for where it is drawn
    if (layout.meta?.width) {   // pictures keep their shape, and on a phone a size at which they can be seen
      const least = Math.max(720, width);
      if (least > width) layout.width = least;
      layout.height *= Math.min(1, least / layout.meta.width);
    }
    if (width < 500) layout.margin = { ...layout.margin, l: 55, r: 5 };
    layout.font = { ...layout.font, family: getComputedStyle(element).fontFamily };
    return layout;
  };

  bench.figure = (element, props, watch) => {   // as gr.HTML gives them
    const place = element.querySelector('.figure');
    let drawn = null, width = 0;   // the value that is drawn, or about to be; pixels that it was drawn for

    const draw = async () => {
      const value = props.value || null;
      if (value === drawn || (value && !place.clientWidth)) return;
      drawn = value;
      const Plotly = await bench.plotly();
      if (value !== drawn) return;   // a newer one has come
      width = place.clientWidth;
      if (!value) { Plotly.purge(place); return; }
      const { data, layout } = JSON.parse(value);
      const file = { filename: element.closest('.block[id]')?.id ?? 'figure' };   // that the camera saves
      await Plotly.react(place, data, shaped(layout, element, width), { displaylogo: false, toImageButtonOptions: file });
    };
    const resized = () => {   // in width: a figure sets its height itself
      draw();
      if (!drawn || !width || !place.clientWidth || place.clientWidth === width) return;
      width = place.clientWidth;
      window.Plotly.Plots.resize(place);
    };

    watch('value', draw);
    new ResizeObserver(resized).observe(place);
  };
})();
