// SPDX-License-Identifier: Apache-2.0
// The page: an image in, the artifact's prediction out, next to the Keras model's scores.
import { checkAll } from './check.js';
import { BACKENDS, openClassifier, reasonAgainst } from './classifier.js';
import { Drawing } from './drawing.js';
import { openGolden, spread } from './golden.js';
import { lookOf } from './look.js';
import { decoded, showPixels, showPreview } from './picture.js';
import { pixelsOf } from './preprocess.js';
import { bytesOf, json } from './server.js';
import { byId, count, element, median, megabytes, milliseconds, percent, preparePrediction, showPrediction, showLatency, showRan, showTrouble } from './view.js';

const SHOWN = 36;
const TIMED = 50;

const manifest = await json('../../artifact/manifest.json');
const reference = await json('../../reference/reference.json');
const golden = await openGolden('../../reference');
const preprocessing = manifest.preprocessing;
const classifiers = new Map();
const drawing = new Drawing(byId('drawing'), byId('pen'), (done) => predictDrawing(done));

let classifier = null;
// What is shown: {pixels, source, at}; `at` is a golden image's number or null.
let shown = null;
let queue = Promise.resolve();
let drawingWaits = false;
let checking = false;

/** Runs one task after another: every inference is measured alone. Returns the task's result; an error is shown. */
function enqueue(task) {
  const result = queue.then(task);
  queue = result.catch((error) => showTrouble(error.message));
  return result;
}

/** Runs an image and shows the prediction; a screen reader announces it unless it is one of many in a row. */
async function predict(image, announced = true) {
  shown = image;
  showTrouble('');
  showPixels(byId('given'), image.pixels, preprocessing);
  for (const button of byId('strip').children) {
    button.setAttribute('aria-pressed', String(Number(button.dataset.at) === image.at));
  }
  const scores = await classifier.predict(image.pixels);
  const reference = image.at === null ? null : await golden.scores(image.at);
  const words = showPrediction({ source: image.source, scores, reference }, classifier.labels);
  if (announced) {
    byId('spoken').textContent = words;
  }
  showLatency(classifier);
}

async function goldenImage(at) {
  return { pixels: await golden.pixels(at), source: `golden image ${at + 1}, labelled ${manifest.labels[golden.labels[at]]}`, at };
}

function chooseGolden(at) {
  return enqueue(async () => predict(await goldenImage(at)));
}

function predictFile(file) {
  return enqueue(async () => {
    const picture = await decoded(file);
    showPreview(byId('preview'), picture);
    byId('file-text').textContent = `${file.name}, ${picture.width} × ${picture.height}`;
    await predict({ pixels: pixelsOf(picture, preprocessing), source: `${file.name}, ${picture.width} × ${picture.height}`, at: null });
  });
}

function predictDrawing(done) {
  if (drawingWaits && !done) {
    return;
  }
  drawingWaits = true;
  enqueue(() => {
    drawingWaits = false;
    return predict({ pixels: pixelsOf(drawing.picture(), preprocessing), source: 'your drawing', at: null }, done);
  });
}

/** Switches to a backend, or stays on the present one and shows why. */
function chooseBackend(backend) {
  return enqueue(async () => {
    const before = classifier;
    byId('ran').textContent = `starting ${backend} …`;
    try {
      classifier = classifiers.get(backend) ?? (await openClassifier(backend, manifest, (name) => bytesOf(`../../artifact/${name}`)));
      await classifier.resume();
      classifiers.set(backend, classifier);
      await predict(shown ?? (await goldenImage(0)));
    } catch (error) {
      if (!before) {
        throw error;
      }
      await before.resume();
      classifier = before;
      refuse(backend, error.message);
      showTrouble(`${backend} cannot be used: ${error.message}`);
    }
    byId(`backend-${classifier.backend}`).checked = true;
    showRan(classifier);
    showLatency(classifier);
  });
}

function refuse(backend, why) {
  byId(`backend-${backend}`).disabled = true;
  byId(`note-${backend}`).textContent = why;
}

async function showBackends() {
  for (const [backend, note] of Object.entries(BACKENDS)) {
    const input = element('input', { type: 'radio', name: 'backend', id: `backend-${backend}`, value: backend, 'aria-describedby': `note-${backend}` });
    input.addEventListener('change', () => chooseBackend(backend));
    const name = element('strong', { textContent: backend, id: `name-${backend}` });
    input.setAttribute('aria-labelledby', `name-${backend}`);
    byId('backends').append(element('label', { className: 'backend' }, input, name, element('small', { id: `note-${backend}`, textContent: note })));
  }
  for (const backend of Object.keys(BACKENDS)) {
    const why = await reasonAgainst(backend);
    if (why) {
      refuse(backend, why);
    }
  }
}

function showFacts() {
  const { height, width, colour, resize, fit } = preprocessing;
  const bytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0);
  const name = new URLSearchParams(location.search).get('model') || manifest.format;
  document.title = `${name} in this browser`;
  byId('model').textContent = name;
  byId('facts').textContent = [manifest.format, megabytes(bytes), `${manifest.labels.length} classes`, `${width} × ${height} ${colour}`].join(' · ');
  byId('golden-text').textContent =
    (reference.accuracy === null ? 'The golden images have no labels. ' :
      `The Keras model's accuracy on ${count(golden.count, 'image')} is ${percent(reference.accuracy)}. `) +
    (golden.count > SHOWN ? `Choose one of these ${SHOWN}.` : 'Choose one.');
  byId('given-text').textContent = `${width} × ${height}, ${colour}: ${fit}, ${resize}, as in the config`;
}

async function showStrip() {
  const numbers = spread(golden.count, SHOWN);
  const images = await Promise.all(numbers.map(goldenImage));
  const buttons = images.map(({ pixels, source, at }) => {
    const canvas = element('canvas', { 'aria-hidden': 'true' });
    showPixels(canvas, pixels, preprocessing);
    const button = element('button', { type: 'button', title: source, 'aria-label': source, 'aria-pressed': 'false' }, canvas);
    button.dataset.at = at;
    button.addEventListener('click', () => chooseGolden(at));
    return button;
  });
  byId('strip').replaceChildren(...buttons);
  return images.map(({ pixels }) => pixels);
}

function prepareDrawing(images) {
  const look = lookOf(images, preprocessing);
  drawing.prepare([preprocessing.width, preprocessing.height], look);
  byId('guide').hidden = !look.frame;
  byId('guide-text').hidden = !look.frame;
  if (look.frame) {
    const [left, upper, right, lower] = look.frame.map((part) => part * 100);
    Object.assign(byId('guide').style, { left: `${left}%`, top: `${upper}%`, width: `${right - left}%`, height: `${lower - upper}%` });
  }
  byId('clear').addEventListener('click', () => {
    drawing.clear();
    byId('spoken').textContent = 'the drawing is cleared';
  });
}

function prepareFiles() {
  byId('file').addEventListener('change', ({ target }) => {
    if (target.files.length) {
      predictFile(target.files[0]);
      // So that the same file, changed, can be chosen again.
      target.value = '';
    }
  });
  const over = (is) => byId('drop').classList.toggle('over', is);
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener('dragleave', () => over(false));
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    over(false);
    if (event.dataTransfer.files.length) {
      predictFile(event.dataTransfer.files[0]);
    }
  });
}

async function check() {
  if (checking) {
    checking = false;
    return;
  }
  checking = true;
  byId('check').textContent = 'Stop checking';
  const checked = classifier;
  const predictOne = (at) =>
    enqueue(async () => (checking && checked === classifier ? checked.predict(await golden.pixels(at)) : null));
  try {
    await checkAll(golden, checked.labels, { predict: predictOne, choose: chooseGolden, ran: checked.backend });
    showLatency(classifier);
  } catch (error) {
    showTrouble(error.message);
  } finally {
    checking = false;
    byId('check').textContent = 'Check all golden images';
  }
}

function time() {
  return enqueue(async () => {
    const timed = [];
    for (let run = 0; run < TIMED; run += 1) {
      await classifier.predict(shown.pixels);
      timed.push(classifier.latenciesMs.at(-1));
      showLatency(classifier);
      await new Promise((resolve) => setTimeout(resolve));
    }
    byId('timed').textContent = `${milliseconds(Math.min(...timed))} to ${milliseconds(Math.max(...timed))}, median ${milliseconds(median(timed))}`;
  });
}

showFacts();
preparePrediction(manifest.labels);
prepareFiles();
byId('check').addEventListener('click', check);
byId('time').addEventListener('click', time);
await showBackends();
prepareDrawing(await showStrip());
await chooseBackend('wasm');
document.documentElement.dataset.ready = 'true';
