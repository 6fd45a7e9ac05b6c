// Asks every two seconds whether there is news of the runs, and lets the page be drawn anew only then: if Gradio asked, an idle
// page would take an eighth of a core. `props.value`: the study, and the state of its runs that has been drawn.
const ask = async () => {
  const { study, state } = props.value ?? {};
  if (!study || document.hidden) return;
  let now;
  try {
    const answer = await fetch(`/news/${encodeURIComponent(study)}`);
    if (!answer.ok) return;
    now = await answer.text();
  } catch { return; }   // the server is away
  if (props.value.study !== study || props.value.state !== state || now === state) return;
  props.value = { study, state: now };
  trigger('input');
};
const timer = setInterval(() => { if (element.isConnected) ask(); else clearInterval(timer); }, 2000);
