// What the bar does in the browser alone: the address, playing, the slider for pictures, and a click on a curve.
(() => {
  const bench = window.lora_da_bench ??= {};
  const slider = () => document.querySelector('#step input[type=range]');

  bench.setStep = step => { const input = slider(); if (!input) return; input.value = step; input.dispatchEvent(new Event('input', { bubbles: true })); };
  bench.shown = step => { bench.pictures?.setStep?.(step); bench.keep({ step }); bench.mark(step); };

  bench.keep = changes => {   // the view lives in the address, so that a link reopens it
    const kept = new URLSearchParams(location.search);
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === '') kept.delete(key);
      else kept.set(key, Array.isArray(value) ? value.join(',') : value);
    }
    history.replaceState(null, '', `?${kept}`);
  };
  bench.remember = (study, recipe, arms, seed, weights) => bench.keep({ study, recipe, arms, seed, weights });

  bench.play = () => {
    if (bench.playing) { clearInterval(bench.playing); bench.playing = null; }
    else bench.playing = setInterval(() => {
      const input = slider(), next = +input.value + +input.step;
      bench.setStep(next > +input.max ? +input.min : next);
    }, 500);
    document.querySelector('#play').textContent = bench.playing ? '❚❚' : '▶';
  };

  bench.mark = step => {   // a line at the step in every figure that has steps
    for (const plot of document.querySelectorAll('#curves .js-plotly-plot')) {
      const axis = plot._fullLayout?.xaxis, y = plot._fullLayout?._size;
      if (!axis || !y) continue;
      let line = plot.querySelector('.step-line');
      if (!line) { line = document.createElement('div'); line.className = 'step-line'; plot.append(line); plot.style.position = 'relative'; }
      Object.assign(line.style, { left: `${axis._offset + axis.d2p(step)}px`, top: `${y.t}px`, height: `${y.h}px`, display: step < axis.range[0] || step > axis.range[1] ? 'none' : 'block' });
    }
  };

  const TABS = ['verdict', 'stability', 'pictures', 'cost', 'try', 'train', 'data', 'export'];
  document.addEventListener('click', event => {   // a tab that the reader selects
    const tab = event.target.closest?.('#tabs button')?.innerText.trim().toLowerCase().split(' ')[0];
    if (!TABS.includes(tab)) return;
    bench.keep({ tab });
    bench.select(tab);
  });

  const saveSvg = plot => {   // as the camera in its corner does, in the other format
    const camera = plot._context.toImageButtonOptions;
    plot._context.toImageButtonOptions = { ...camera, format: 'svg' };
    plot.querySelector('.modebar-btn[data-title^="Download"]').click();
    plot._context.toImageButtonOptions = camera;
  };

  const hook = () => {
    if (document.querySelector('.card')) bench.plotly();   // the cards are there: figures follow
    for (const plot of document.querySelectorAll('.js-plotly-plot')) {
      if (plot.querySelector('.save-svg') || !plot.querySelector('.modebar-btn[data-title^="Download"]')) continue;
      const button = Object.assign(document.createElement('button'), { className: 'save-svg', textContent: 'SVG', title: 'Save this figure as SVG', onclick: () => saveSvg(plot) });
      plot.style.position = 'relative';
      plot.append(button);
    }
    for (const plot of document.querySelectorAll('#curves .js-plotly-plot')) {
      if (plot.dataset.hooked || !plot.on) continue;
      plot.dataset.hooked = true;
      plot.on('plotly_click', event => bench.setStep(event.points[0].x));
      const again = () => slider() && bench.mark(+slider().value);
      plot.on('plotly_afterplot', again);
      again();
    }
  };
  new MutationObserver(hook).observe(document, { childList: true, subtree: true });
})();
