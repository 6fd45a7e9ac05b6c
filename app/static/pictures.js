// The pictures of several runs side by side. `element`, `props` and `watch` come from gr.HTML; `props.value` is what `picture_index` returns.
// Label maps arrive as grey PNGs whose values are class ids, so everything derived from them is computed here, and a step costs nothing twice.

const LAYERS = {
  pseudo: 'pseudo-label', prediction: 'segmentation', confidence: 'confidence', errors: 'errors',
  differs: 'differs from', flipped: 'flipped since', often: 'how often flipped',
};
const IGNORE = 255, MOST_BYTES = 2 ** 29, MOST_LOOKS = 20;
const state = (window.lora_da_bench ??= {}).pictures ??= {
  step: null, probe: null, layers: ['pseudo', 'prediction', 'errors'], classes: {}, palette: 'dataset', sort: 'order',
  zoom: { k: 1, x: 0, y: 0 }, picked: [], wipe: .5, with: 0, way: 1,
};
const loaded = new Map();   // address -> promise of {width, height, data}, the oldest first
let bytes = 0, drawing = 0, width = Infinity;   // pixels that are kept of a picture's width

const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// reading

function keep(key, read) {   // what `read` promises, from memory where it was read before; the oldest go first
  if (loaded.has(key)) { const kept = loaded.get(key); loaded.delete(key); loaded.set(key, kept); return kept; }
  const promise = read();
  loaded.set(key, promise);
  promise.then(parts => {
    if (Object.values(parts).some(part => part.problem !== undefined)) { loaded.delete(key); return; }   // what is not there may still be written
    for (const part of Object.values(parts)) bytes += part.bytes ?? 0;
    for (const [old, kept] of loaded) {
      if (bytes < MOST_BYTES || old == key) break;
      loaded.delete(old);
      kept.then(parts => { for (const part of Object.values(parts)) bytes -= part.bytes ?? 0; });
    }
  });
  return promise;
}

async function pixels(address, most) {   // {width, height, rgba}, as fine as it is shown: nearest pixels, for class ids can't be mixed; or {problem}
  const answer = await fetch(address);
  if (!answer.ok) return { problem: answer.status == 404 ? '' : await answer.text() };
  const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: 'none' }).catch(() => null);
  if (!bitmap) return { problem: 'is cut off or damaged' };
  const scale = Math.min(1, most / bitmap.width), [w, h] = [bitmap.width, bitmap.height].map(n => Math.max(1, Math.round(n * scale)));
  const context = new OffscreenCanvas(w, h).getContext('2d', { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, 0, 0, w, h);
  return { width: w, height: h, rgba: context.getImageData(0, 0, w, h).data, problems: JSON.parse(answer.headers.get('X-Problems') ?? '{}') };
}

function channel({ width, height, rgba }, c) {
  const values = new Uint8Array(width * height);
  for (let i = 0; i < values.length; i++) values[i] = rgba[4 * i + c];
  return { width, height, values, bytes: values.length };
}

function once(run, what, probe = state.probe) {   // the input or the truth
  const address = `${run.address}/${probe}/${what}.png?v=${run.version}${isFinite(width) ? `&w=${width}` : ''}`, most = width;
  return keep(address, async () => {
    const found = await pixels(address, most);
    if (found.problem !== undefined) return { [what]: found };
    return { [what]: what == 'input' ? { ...found, pale: paleOf(found.rgba), bytes: 2 * found.rgba.length } : channel(found, 0) };
  }).then(parts => parts[what]);
}

const CHANNELS = ['prediction', 'pseudo', 'confidence'];
function look(run, step, what, probe = state.probe) {   // one kind of what is stored of a look; all kinds come together
  const address = `${run.address}/${step}/${probe}/look.png?v=${run.version}${isFinite(width) ? `&w=${width}` : ''}`;
  return keep(address, async () => {
    const found = await pixels(address, Infinity);
    return Object.fromEntries(CHANNELS.map((kind, c) => [kind, found.problem !== undefined ? found : found.problems[kind] !== undefined ? { problem: found.problems[kind] } : channel(found, c)]));
  }).then(parts => parts[what]);
}

const lastLook = (run, step) => run.steps.filter(s => s <= step).at(-1) ?? null;
const at = (run, what) => { const step = lastLook(run, state.step); return step === null ? Promise.resolve({ problem: 'no look yet' }) : look(run, step, what); };
const whole = (...pictures) => pictures.find(p => p.problem !== undefined) ?? (pictures.some(p => p.width != pictures[0].width || p.height != pictures[0].height) ? { problem: 'pictures differ in size' } : null);

// drawing: each layer makes RGBA of what a run says

const colours = () => props.value.palettes[state.palette] ?? props.value.palettes.dataset;
const chosen = () => { const only = Object.keys(state.classes).filter(c => state.classes[c] == 'only'); return c => c == IGNORE ? false : state.classes[c] == 'hidden' ? false : !only.length || only.includes(String(c)); };

const packed = ([r, g, b]) => (255 << 24 | Math.round(b) << 16 | Math.round(g) << 8 | Math.round(r)) >>> 0;   // a pixel of canvas as one number
const table = (n, colour) => Uint32Array.from({ length: n }, (_, i) => packed(colour(i)));
let tables = { of: null };   // of the classes that are shown and their colours

function classTables() {
  const of = JSON.stringify([state.palette, state.classes, props.value.palettes.dataset]);
  if (tables.of != of) {
    const palette = colours(), shown = chosen(), colour = c => c == IGNORE ? [0, 0, 0] : shown(c) ? palette[c] ?? [0, 0, 0] : [150, 150, 150];
    const all = Array.from({ length: 256 }, (_, c) => colour(c));
    tables = { of, plain: table(256, c => all[c]), paler: table(65536, i => all[i >> 8].map(v => v * (i & 255) / 255 + 255 - (i & 255))) };
  }
  return tables;
}

function paint(picture, fill) {   // an image of a picture's size whose pixels `fill` writes
  const out = new ImageData(picture.width, picture.height);
  fill(new Uint32Array(out.data.buffer));
  return out;
}

function paleOf(rgba) {   // an input in pale grey, as the ground for what is marked
  const pale = new Uint32Array(rgba.length / 4);
  for (let i = 0; i < pale.length; i++) {
    const v = .45 * (.299 * rgba[4 * i] + .587 * rgba[4 * i + 1] + .114 * rgba[4 * i + 2]) + .55 * 255;
    pale[i] = packed([v, v, v]);
  }
  return pale;
}

function labels(picture, sure = null) {   // paler where the teacher is less sure
  const { plain, paler } = classTables(), values = picture.values, confidence = sure?.values;
  return paint(picture, out => {
    if (confidence) for (let i = 0; i < out.length; i++) out[i] = paler[values[i] << 8 | confidence[i]];
    else for (let i = 0; i < out.length; i++) out[i] = plain[values[i]];
  });
}

const marked = (image, { values: a }, { values: b }, colour, ignored = null) => paint(image, out => {   // where two label maps differ
  out.set(image.pale);
  const mark = packed(colour);
  for (let i = 0; i < out.length; i++) if (a[i] != b[i] && b[i] !== ignored) out[i] = mark;
});
const heat = s => [255 * Math.min(1, 1.6 * s), 255 * Math.max(0, 1.7 * s - .6), 90 * (1 - s)];   // 0..1, from dark to yellow

const DRAW = {
  async input(run) { const p = await once(run, 'input'); return whole(p) ?? new ImageData(new Uint8ClampedArray(p.rgba), p.width, p.height); },
  async truth(run) { const p = await once(run, 'truth'); return whole(p) ?? labels(p); },
  async prediction(run) { const p = await at(run, 'prediction'); return whole(p) ?? labels(p); },
  async pseudo(run) { const [p, sure] = await Promise.all([at(run, 'pseudo'), at(run, 'confidence')]); return whole(p, sure) ?? labels(p, sure); },
  async confidence(run) { const p = await at(run, 'confidence'); const of = table(256, i => heat(i / 255)); return whole(p) ?? paint(p, out => { for (let i = 0; i < out.length; i++) out[i] = of[p.values[i]]; }); },
  async errors(run) {
    const [image, p, truth] = await Promise.all([once(run, 'input'), at(run, 'prediction'), once(run, 'truth')]);
    return whole(image, p, truth) ?? marked(image, p, truth, [214, 39, 40], IGNORE);
  },
  async differs(run) {
    const other = props.value.runs[state.with] ?? run;
    const [image, p, q] = await Promise.all([once(run, 'input'), at(run, 'prediction'), at(other, 'prediction')]);
    return whole(image, p, q) ?? marked(image, p, q, [148, 33, 146]);
  },
  async flipped(run) {
    const looks = run.steps.filter(s => s <= state.step), kinds = looks.slice(-2).map(s => look(run, s, 'pseudo'));
    if (kinds.length < 2) return { problem: 'needs two looks' };
    const [image, before, now] = await Promise.all([once(run, 'input'), ...kinds]);
    return whole(image, before, now) ?? marked(image, before, now, [0, 114, 178]);
  },
  async often(run) {
    const looks = run.steps.filter(s => s <= state.step).slice(-MOST_LOOKS);
    if (looks.length < 2) return { problem: 'needs two looks' };
    const all = await Promise.all(looks.map(s => look(run, s, 'pseudo')));
    if (whole(...all)) return whole(...all);
    const flips = new Uint16Array(all[0].values.length);
    for (let n = 1; n < all.length; n++) for (let i = 0; i < flips.length; i++) flips[i] += all[n].values[i] != all[n - 1].values[i];
    const of = table(all.length, n => heat(n / (all.length - 1)));
    return paint(all[0], out => { for (let i = 0; i < out.length; i++) out[i] = of[flips[i]]; });
  },
};

// the page

const cell = (run, column, layer) => {
  const canvas = make('canvas', { title: '' }), said = make('span', { className: 'said' });
  const box = make('figure', { className: 'cell' }, canvas, said);
  Object.assign(box.dataset, { layer, column });
  box.draw = async turn => {
    const drawn = await DRAW[layer](run);
    if (turn != drawing) return;
    box.drawn = drawn;
    said.textContent = drawn.problem ?? '';
    if (drawn.problem !== undefined) { canvas.getContext('2d').clearRect(0, 0, canvas.width, canvas.height); return; }
    canvas.width = drawn.width; canvas.height = drawn.height;
    canvas.getContext('2d').putImageData(drawn, 0, 0);
  };
  const picked = state.picked.findIndex(([l, c]) => l == layer && c == column);
  const pick = make('button', { className: 'pick', textContent: picked < 0 ? 'compare' : `compared ${picked + 1}`, ariaPressed: String(picked >= 0) });
  pick.setAttribute('aria-label', `Lay ${LAYERS[layer] ?? layer} of ${run.label} over another picture`);
  pick.onclick = () => {
    if (picked >= 0) state.picked.splice(picked, 1); else state.picked = [...state.picked, [layer, column]].slice(-2);
    build();
  };
  box.append(pick);
  return box;
};

const neededWidth = () => state.zoom.k > 1 ? Infinity : 64 * Math.ceil((element.querySelector('.grid .cell')?.clientWidth || 320) * devicePixelRatio / 64);   // few sizes, so that visitors share them
const zoomed = () => { const { k, x, y } = state.zoom; if (neededWidth() != width) draw(); for (const canvas of element.querySelectorAll('.cell canvas')) canvas.style.transform = `translate(${100 * x}%, ${100 * y}%) scale(${k})`; };

function keepInside() {
  const z = state.zoom;
  z.k = Math.min(16, Math.max(1, z.k));
  z.x = Math.min(0, Math.max(1 - z.k, z.x)); z.y = Math.min(0, Math.max(1 - z.k, z.y));
}

function zoomBy(box, event, factor) {
  const area = box.getBoundingClientRect(), z = state.zoom, k = z.k;
  const px = (event.clientX - area.left) / area.width, py = (event.clientY - area.top) / area.height;
  z.k = Math.min(16, Math.max(1, k * factor));
  z.x = px - (px - z.x) * z.k / k; z.y = py - (py - z.y) * z.k / k;
  keepInside(); zoomed();
}

async function tell(event, box) {   // the class under the pointer, in every column
  const area = box.getBoundingClientRect(), z = state.zoom;
  const x = ((event.clientX - area.left) / area.width - z.x) / z.k, y = ((event.clientY - area.top) / area.height - z.y) / z.k;
  const value = p => p.values[Math.min(p.height - 1, Math.floor(y * p.height)) * p.width + Math.min(p.width - 1, Math.floor(x * p.width))];
  const name = p => p.problem === undefined ? props.value.classes[value(p)] ?? 'not labelled' : '–';
  for (const [i, run] of props.value.runs.entries()) {
    const [p, sure] = await Promise.all([at(run, 'prediction'), at(run, 'confidence')]);
    const line = element.querySelectorAll(':scope .column .under')[i];
    if (line) line.textContent = name(p) + (sure.problem === undefined ? ` · teacher ${Math.round(value(sure) / 2.55)}%` : '');
  }
  const truth = await once(props.value.runs[0], 'truth'), line = element.querySelector('.once .under');
  if (line) line.textContent = truth.problem === undefined ? `truth: ${name(truth)}` : '';
}

function follow(box) {
  let from = null;
  box.addEventListener('wheel', e => { e.preventDefault(); zoomBy(box, e, Math.exp(-e.deltaY / 400)); }, { passive: false });
  box.addEventListener('dblclick', () => { state.zoom = { k: 1, x: 0, y: 0 }; zoomed(); });
  box.addEventListener('pointerdown', e => { if (e.target.tagName == 'BUTTON') return; from = [e.clientX, e.clientY, state.zoom.x, state.zoom.y]; box.setPointerCapture(e.pointerId); });
  box.addEventListener('pointerup', () => { from = null; });
  box.addEventListener('pointermove', e => {
    if (!from) return void tell(e, box);
    const area = box.getBoundingClientRect();
    state.zoom.x = from[2] + (e.clientX - from[0]) / area.width; state.zoom.y = from[3] + (e.clientY - from[1]) / area.height;
    keepInside(); zoomed();
  });
}

const chip = (text, pressed, press, colour = null, title = '') => {
  const made = make('button', { className: 'chip', onclick: press, title }, ...(colour ? [make('i', { style: `background:rgb(${colour})` })] : []), text);
  made.setAttribute('aria-pressed', pressed);
  return made;
};

const select = (label, options, value, change) => {
  const made = make('select', { onchange: e => change(e.target.value) });
  for (const [key, text] of options) made.append(make('option', { value: key, textContent: text, selected: key == value }));
  return make('label', {}, make('span', { textContent: label }), made);
};

const ORDERS = { order: 'in order', disagreement: 'by disagreement', flips: 'by flips', errors: 'by errors' };
async function rank(probe) {   // what the thumbnails are sorted by: a share of the pixels of one probe
  const here = (run, what, step) => step === null ? once(run, what, probe) : look(run, step, what, probe);
  const share = (p, q, judged = null) => { if (whole(p, q)) return 0; let n = 0, all = 0; for (let i = 0; i < p.values.length; i++) { if (judged && judged.values[i] == IGNORE) continue; all++; n += p.values[i] != q.values[i]; } return n / Math.max(1, all); };
  const shares = [], runs = props.value.runs;
  for (const run of runs) {
    const looks = run.steps.filter(s => s <= state.step), now = looks.at(-1);
    if (now === undefined) continue;
    if (state.sort == 'errors') { const [p, t] = await Promise.all([here(run, 'prediction', now), here(run, 'truth', null)]); shares.push(share(p, t, t)); }
    else if (state.sort == 'flips') { if (looks.length > 1) shares.push(share(...await Promise.all(looks.slice(-2).map(s => here(run, 'pseudo', s))))); }
    else { const other = lastLook(runs[0], state.step); if (other !== null && run != runs[0]) shares.push(share(await here(run, 'prediction', now), await here(runs[0], 'prediction', other))); }
  }
  return shares.reduce((a, b) => a + b, 0) / Math.max(1, shares.length);
}

async function thumbnails(row) {
  const { probes, runs } = props.value;
  let order = probes.map(probe => [probe, null]);
  if (state.sort != 'order') { order = await Promise.all(probes.map(async p => [p, await rank(p)])); order.sort((a, b) => b[1] - a[1]); }
  row.replaceChildren(...order.map(([probe, value]) => {
    const image = make('img', { src: `${runs[0].address}/${probe}/input.png?v=${runs[0].version}`, alt: `held-out frame ${probe}`, loading: 'lazy' });
    const made = make('button', { className: 'thumb', onclick: () => { state.probe = probe; build(); } }, image, make('span', { textContent: value === null ? probe : `${probe} · ${(100 * value).toFixed(1)}%` }));
    made.setAttribute('aria-pressed', probe == state.probe);
    return made;
  }));
}

function over(area) {   // two cells over each other, with a wipe
  const [[la, ca], [lb, cb]] = state.picked, find = (l, c) => element.querySelector(`.cell[data-layer="${l}"][data-column="${c}"]`);
  const canvases = [make('canvas'), make('canvas')], slider = make('input', { type: 'range', min: 0, max: 1, step: .005, value: state.wipe });
  slider.setAttribute('aria-label', 'wipe between the two pictures');
  const cut = () => { canvases[1].style.clipPath = `inset(0 0 0 ${100 * state.wipe}%)`; };
  slider.oninput = () => { state.wipe = +slider.value; cut(); };
  const name = (l, c) => `${LAYERS[l] ?? l}${props.value.runs[c] && LAYERS[l] ? `, ${props.value.runs[c].label}` : ''}`;
  area.replaceChildren(make('p', { textContent: `left: ${name(la, ca)} · right: ${name(lb, cb)}` }), make('div', { className: 'stack' }, ...canvases), slider);
  area.draw = () => {
    [[la, ca], [lb, cb]].forEach(([l, c], i) => {
      const drawn = find(l, c)?.drawn;
      if (!drawn || drawn.problem !== undefined) return;
      canvases[i].width = drawn.width; canvases[i].height = drawn.height;
      canvases[i].getContext('2d').putImageData(drawn, 0, 0);
    });
    cut();
  };
}

const whenIdle = window.requestIdleCallback ?? setTimeout;
function ahead(turn) {   // the look to which the slider is on its way, so that it is there when the slider comes to it
  if (turn != drawing) return;
  for (const run of props.value.runs) {
    const next = run.steps[run.steps.indexOf(lastLook(run, state.step)) + state.way];
    if (next !== undefined) look(run, next, 'prediction');
  }
}

async function draw() {
  const turn = ++drawing, runs = props.value?.runs ?? [];
  width = neededWidth();
  element.querySelectorAll('.column').forEach((column, i) => {
    const look = lastLook(runs[i], state.step), score = runs[i].scores[look];
    column.querySelector('.at').textContent = look === null ? 'no look yet' : `step ${look}${score === undefined ? '' : ` · mIoU ${score.toFixed(3)}`}`;
  });
  await Promise.all([...element.querySelectorAll('.grid .cell')].map(box => box.draw(turn)));
  if (turn != drawing) return;
  element.querySelector('.over')?.draw?.();
  whenIdle(() => ahead(turn));
  element.firstElementChild.dataset.drawn = `${state.step}/${state.probe}`;   // all of it is drawn
}

function build() {
  const root = element.querySelector('.pictures'), value = props.value;
  if (!root || !value?.runs) return;   // nothing has arrived yet
  if (!value.runs.length) { root.replaceChildren(make('p', { className: 'empty', textContent: 'No pictures yet: choose a run above, or wait for the first look of one that trains.' })); return; }
  if (!value.probes.includes(state.probe)) state.probe = value.probes[0] ?? null;
  state.step = +document.querySelector('#step input[type=range]').value;
  state.picked = state.picked.filter(([layer, column]) => column < value.runs.length && (!LAYERS[layer] || state.layers.includes(layer)));
  const toggled = (list, key) => list.includes(key) ? list.filter(k => k != key) : Object.keys(LAYERS).filter(k => k == key || list.includes(k));
  const tools = make('div', { className: 'tools' },
    ...Object.entries(LAYERS).map(([key, text]) => chip(text, state.layers.includes(key), () => { state.layers = toggled(state.layers, key); build(); })),
    ...(state.layers.includes('differs') ? [select('other run', value.runs.map((run, i) => [i, run.label]), state.with, i => { state.with = +i; build(); })] : []),
    select('colours', [['dataset', "the dataset's"], ['distinct', 'told apart'], ['blind', 'colour-blind safe']], state.palette, p => { state.palette = p; build(); }),
    select('frames', Object.entries(ORDERS), state.sort, s => { state.sort = s; build(); }));
  const next = { undefined: 'only', only: 'hidden', hidden: undefined };
  const legend = make('div', { className: 'legend' }, ...value.classes.map((name, c) => {
    const made = chip(name, state.classes[c] == 'only', () => { state.classes[c] = next[state.classes[c]]; build(); }, colours()[c], 'once: only this class, twice: all but this one');
    if (state.classes[c] == 'hidden') made.classList.add('hidden-class');
    return made;
  }));
  const row = make('div', { className: 'thumbs' }), area = make('div', { className: 'over' });
  const once = make('div', { className: 'once' }, make('header', {}, make('b', { textContent: `frame ${state.probe}` }), make('span', { className: 'at', textContent: 'held out' }), make('span', { className: 'under' })),
    ...['input', 'truth'].map(layer => make('div', {}, cell(value.runs[0], 0, layer), make('small', { textContent: layer }))));
  const columns = value.runs.map((run, i) => make('div', { className: 'column', style: `--arm:${run.colour}` },
    make('header', {}, make('b', { textContent: run.label }), make('span', { className: 'at' }), make('span', { className: 'under' })),
    ...state.layers.map(layer => make('div', {}, cell(run, i, layer), make('small', { textContent: layer == 'differs' ? `differs from ${value.runs[state.with]?.label ?? ''}` : LAYERS[layer] })))));
  const grid = make('div', { className: 'grid', style: `--columns:${value.runs.length}` }, once, ...columns);
  const note = value.more ? [make('p', { className: 'note', textContent: `${value.more} more runs are chosen; four are shown at once.` })] : [];
  root.replaceChildren(tools, legend, row, ...note, area, grid);
  element.querySelectorAll('.grid .cell').forEach(follow);
  if (state.picked.length == 2) over(area);
  draw(); thumbnails(row); zoomed();
}

state.setStep = step => { state.way = step < state.step ? -1 : 1; state.step = step; if (element.isConnected && props.value?.runs?.length) draw(); };
watch('value', () => setTimeout(build));   // once the slider has what came with it
build();
