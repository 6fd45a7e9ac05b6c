// Runs before Gradio's scripts. The clock of Gradio's loading screen asks for every next frame for ever, even when that screen is
// gone: a tenth of a core for each open page. So what has gone on for 300 frames is called once a second.
(() => {
  const nextFrame = window.requestAnimationFrame.bind(window);
  let frames = 0;   // for how many the callback that is running has gone on
  window.requestAnimationFrame = callback => {
    const goneOn = frames + 1;
    const call = time => { frames = goneOn; try { callback(time); } finally { frames = 0; } };
    return goneOn < 300 ? nextFrame(call) : setTimeout(() => nextFrame(call), 1000);
  };
})();
