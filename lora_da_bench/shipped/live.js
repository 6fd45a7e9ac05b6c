// Draws a figure in a notebook, the JSON of `LiveFigure`; plotly.js comes from the widget that `script` names, once a page.
const load = async model => {
  const script = await model.widget_manager.get_model(model.get('script').slice('IPY_MODEL_'.length));
  if (!script.plotly) {
    const module = { exports: {} };
    new Function('module', 'exports', 'define', script.get('code'))(module, module.exports);
    script.plotly = module.exports;
  }
  return script.plotly;
};

export default {
  async render({ model, el }) {
    const Plotly = await load(model);
    const place = el.appendChild(document.createElement('div'));
    const draw = () => {
      const { data, layout } = JSON.parse(model.get('figure'));
      return Plotly.react(place, data, { ...layout, uirevision: 'kept' }, { displaylogo: false });   // kept: what is zoomed
    };
    model.on('change:figure', draw);
    await draw();
    return () => { model.off('change:figure', draw); Plotly.purge(place); };
  },
};
