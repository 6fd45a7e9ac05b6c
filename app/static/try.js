// A picture of the reader's, or one that runs have stored, segmented by several runs side by side. `element`, `props`, `watch` come from gr.HTML.

// `from`, `of`: the address of a stored frame, and the run that has stored it
const kept = (window.lora_da_bench ??= {}).trying ??= { blob: null, name: '', probe: null, from: null, of: null, opacity: .6, show: 'labels', answers: new Map() };
const make = (tag, properties = {}, ...children) => { const made = Object.assign(document.createElement(tag), properties); made.append(...children); return made; };
const pngOf = text => fetch(`data:image/png;base64,${text}`).then(r => r.blob());
const save = (blob, name) => { const link = make('a', { href: URL.createObjectURL(blob), download: name }); link.click(); setTimeout(() => URL.revokeObjectURL(link.href), 1000); };
const MOST_WIDTH = 1024;   // pixels of a canvas; what is downloaded has the picture's own

async function pixels(blob, width, height) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

function ask(run) {   // what a run says of the picture, once
  const key = `${run.segment} ${run.version}`, { answers } = kept;
  if (!answers.has(key)) answers.set(key, (async () => {
    const answer = kept.probe === null ? await fetch(run.segment, { method: 'POST', body: kept.blob }) : await fetch(`${run.segment}/${kept.probe}?of=${encodeURIComponent(kept.of)}`);
    if (!answer.ok) throw new Error(answer.status == 404 ? 'there is no such picture' : await answer.text());
    return answer.json();
  })());
  const asked = answers.get(key);
  asked.catch(() => answers.delete(key));
  return asked;
}

async function blend(picture, run, said, width, height) {   // a picture with a run's colours or its confidence over it
  const [ground, values, sure] = await Promise.all([pixels(picture, width, height), pngOf(said.values).then(b => pixels(b, width, height)), pngOf(said.confidence).then(b => pixels(b, width, height))]);
  const out = new ImageData(width, height);
  for (let i = 0; i < out.data.length; i += 4) {
    const colour = kept.show == 'labels' ? run.palette[values[i]] ?? [0, 0, 0] : [sure[i], sure[i], sure[i]];
    for (let c = 0; c < 3; c++) out.data[i + c] = ground[i + c] * (1 - kept.opacity) + colour[c] * kept.opacity;
    out.data[i + 3] = 255;
  }
  return { out, values, sure };
}

async function column(run, box, turn) {
  const canvas = box.querySelector('canvas'), note = box.querySelector('.note'), links = box.querySelector('.links'), picture = kept.blob;
  note.textContent = 'segmenting ...';
  let said, bitmap;
  try { said = await ask(run); bitmap = await createImageBitmap(picture); }
  catch (problem) { if (turn == drawing) note.textContent = problem.message; return; }
  if (turn != drawing) return;
  const scale = Math.min(1, MOST_WIDTH / bitmap.width), width = Math.round(bitmap.width * scale), height = Math.round(bitmap.height * scale);
  const { out, values, sure } = await blend(picture, run, said, width, height);
  if (turn != drawing) return;
  Object.assign(canvas, { width, height }).getContext('2d').putImageData(out, 0, 0);
  box.dataset.drawn = `${kept.name} ${kept.show} ${kept.opacity}`;
  const shares = new Map();
  for (let i = 0; i < values.length; i += 4) shares.set(values[i], (shares.get(values[i]) ?? 0) + 1);
  note.textContent = [...shares].sort((a, b) => b[1] - a[1]).slice(0, 4).map(([c, n]) => `${run.classes[c]} ${(400 * n / values.length).toFixed(0)}%`).join(' · ');
  canvas.onpointermove = event => {
    const at = canvas.getBoundingClientRect(), x = Math.floor((event.clientX - at.x) / at.width * width), y = Math.floor((event.clientY - at.y) / at.height * height), i = 4 * (y * width + x);
    box.querySelector('.under').textContent = `${run.classes[values[i]] ?? ''} ${(100 * sure[i] / 255).toFixed(0)}% sure`;
  };
  const stem = kept.name.replace(/\.\w+$/, '');
  links.replaceChildren(
    make('button', { textContent: 'label map', onclick: async () => save(await pngOf(said.labels), `${stem}-${run.name}.png`) }),
    make('button', { textContent: 'overlay', onclick: async () => {
      const full = await blend(picture, run, said, bitmap.width, bitmap.height), canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      canvas.getContext('2d').putImageData(full.out, 0, 0);
      save(await canvas.convertToBlob(), `${stem}-${run.name}-overlay.png`);
    } }));
}

let drawing = 0;
function draw() {
  const turn = ++drawing;
  if (!kept.blob) return;
  const own = element.querySelector('.own');
  if (own) { if (own.src) URL.revokeObjectURL(own.src); own.src = URL.createObjectURL(kept.blob); own.alt = kept.name; }
  element.querySelectorAll('.column').forEach((box, i) => column(props.value.runs[i], box, turn));
}

function take(blob, name) {
  const problem = element.querySelector('.problem');
  problem.textContent = blob.size > props.value.most_bytes ? `${name}: expected a picture of at most ${props.value.most_bytes / 2 ** 20} MB` : '';
  if (problem.textContent) return;
  Object.assign(kept, { blob, name, probe: null, from: null, of: null, answers: new Map() });
  draw();
}

const addressOf = (run, probe) => `${run.address}/${probe}/input.png?v=${run.version}`;

async function takeStored(probe) {   // a frame that the first run has stored
  const run = props.value.runs[0], from = addressOf(run, probe);
  Object.assign(kept, { blob: null, name: `frame-${probe}.png`, probe, from, of: run.name, answers: new Map() });
  element.querySelector('.problem').textContent = '';
  drawing++;
  const answer = await fetch(from), blob = await answer.blob();
  if (!answer.ok || kept.from != from) return;   // another is asked for by now
  kept.blob = blob;
  draw();
}

function build() {
  const value = props.value, area = element.querySelector('.trying');
  if (!value?.runs) return;
  if (!value.runs.length) { area.replaceChildren(make('p', { className: 'empty', textContent: 'No run is finished yet; when one is, it segments your pictures here.' })); return; }
  const file = make('input', { type: 'file', accept: 'image/*', id: 'picture-file', onchange: () => file.files[0] && take(file.files[0], file.files[0].name) });
  const stored = make('select', { id: 'stored', onchange: () => stored.value && takeStored(stored.value) }, make('option', { value: '', textContent: 'a held-out frame ...' }), ...value.probes.map(p => make('option', { value: p, textContent: `frame ${p}`, selected: p === kept.probe })));
  const opacity = make('input', { type: 'range', min: 0, max: 1, step: .05, value: kept.opacity, id: 'opacity', oninput: () => { kept.opacity = +opacity.value; draw(); } });
  const show = make('select', { id: 'overlaid', onchange: () => { kept.show = show.value; draw(); } }, ...['labels', 'confidence'].map(s => make('option', { value: s, textContent: s, selected: s == kept.show })));
  const named = (text, control) => make('label', {}, text, control);
  const columns = value.runs.map(run => make('div', { className: 'column', style: `--arm:${run.colour}` },
    make('header', {}, make('b', { textContent: run.label }), make('span', { className: 'under' })),
    make('canvas', { width: 2, height: 1, role: 'img', ariaLabel: `what ${run.label} sees` }), make('p', { className: 'note' }), make('div', { className: 'links' }),
    make('div', { className: 'links' }, make('a', { href: run.model, download: '', textContent: run.adapter ? 'model, merged' : 'model' }), ...(run.adapter ? [make('a', { href: run.adapter, download: '', textContent: 'adapters' })] : []))));
  area.replaceChildren(
    make('div', { className: 'tools' }, ...(value.uploads ? [named('your picture', file)] : []), named(value.uploads ? 'or' : 'picture', stored), named('over it', show), named('opacity', opacity)),
    make('p', { className: 'problem', role: 'alert' }),
    make('p', { className: 'note', textContent: value.uploads ? 'The picture goes to this app alone; nothing of it is kept.' : '' }),
    make('div', { className: 'grid', style: `--columns:${columns.length}` }, make('div', { className: 'given' }, make('header', {}, make('b', { textContent: 'picture' })), make('img', { className: 'own' })), ...columns));
  area.ondragover = event => event.preventDefault();
  area.ondrop = event => { event.preventDefault(); const [given] = event.dataTransfer.files; if (given && value.uploads) take(given, given.name); };
  if (kept.blob && (kept.probe === null || kept.from == addressOf(value.runs[0], kept.probe))) draw();
  else if (value.probes.length) takeStored(value.probes.includes(kept.probe) ? kept.probe : value.probes[0]);
  else Object.assign(kept, { blob: null, from: null });   // of runs that are no longer shown
}

build();
watch('value', build);
