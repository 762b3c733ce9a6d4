// SPDX-License-Identifier: Apache-2.0
// The page: an image in, the artifact's answer out, the original's beside it.
import { checkAll } from './check.js';
import { BACKENDS, openClassifier, reasonAgainst } from './classifier.js';
import { Drawing } from './drawing.js';
import { openGolden, spread } from './golden.js';
import { lookOf } from './look.js';
import { decoded, showPixels, showPreview } from './picture.js';
import { pixelsOf } from './preprocess.js';
import { bytesOf, json } from './server.js';
import { byId, count, element, median, megabytes, milliseconds, percent, prepareAnswer, showAnswer, showLatency, showRan, showTrouble } from './view.js';

const SHOWN = 36;
const TIMED = 50;

const manifest = await json('../../artifact/manifest.json');
const reference = await json('../../reference/reference.json');
const golden = await openGolden('../../reference');
const contract = manifest.preprocessing;
const classifiers = new Map();
const drawing = new Drawing(byId('drawing'), byId('pen'), (done) => answerDrawing(done));

let classifier = null;
// What is shown: {pixels, source, at}; `at` is a golden image's number or null.
let shown = null;
let turn = Promise.resolve();
let drawingWaits = false;
let checking = false;

/** Does one thing after another: an answer is measured alone. Returns what the task returns; an error is shown. */
function inTurn(task) {
  const result = turn.then(task);
  turn = result.catch((error) => showTrouble(error.message));
  return result;
}

/** Answers an image and shows the answer; said aloud unless it is one of many in a row. */
async function answer(image, aloud = true) {
  shown = image;
  showTrouble('');
  showPixels(byId('given'), image.pixels, contract);
  for (const button of byId('strip').children) {
    button.setAttribute('aria-pressed', String(Number(button.dataset.at) === image.at));
  }
  const scores = await classifier.answer(image.pixels);
  const original = image.at === null ? null : await golden.scores(image.at);
  const words = showAnswer({ source: image.source, scores, original }, classifier.labels);
  if (aloud) {
    byId('spoken').textContent = words;
  }
  showLatency(classifier);
}

async function goldenImage(at) {
  return { pixels: await golden.pixels(at), source: `golden image ${at + 1}, labelled ${manifest.labels[golden.labels[at]]}`, at };
}

function chooseGolden(at) {
  return inTurn(async () => answer(await goldenImage(at)));
}

function answerFile(file) {
  return inTurn(async () => {
    const picture = await decoded(file);
    showPreview(byId('preview'), picture);
    byId('file-told').textContent = `${file.name}, ${picture.width} × ${picture.height}`;
    await answer({ pixels: pixelsOf(picture, contract), source: `${file.name}, ${picture.width} × ${picture.height}`, at: null });
  });
}

function answerDrawing(done) {
  if (drawingWaits && !done) {
    return;
  }
  drawingWaits = true;
  inTurn(() => {
    drawingWaits = false;
    return answer({ pixels: pixelsOf(drawing.picture(), contract), source: 'your drawing', at: null }, done);
  });
}

/** Goes to a backend, or stays where it was and says why. */
function chooseBackend(backend) {
  return inTurn(async () => {
    const before = classifier;
    byId('ran').textContent = `starting ${backend} …`;
    try {
      classifier = classifiers.get(backend) ?? (await openClassifier(backend, manifest, (name) => bytesOf(`../../artifact/${name}`)));
      await classifier.resume();
      classifiers.set(backend, classifier);
      await answer(shown ?? (await goldenImage(0)));
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
  byId(`told-${backend}`).textContent = why;
}

async function showBackends() {
  for (const [backend, told] of Object.entries(BACKENDS)) {
    const input = element('input', { type: 'radio', name: 'backend', id: `backend-${backend}`, value: backend, 'aria-describedby': `told-${backend}` });
    input.addEventListener('change', () => chooseBackend(backend));
    const name = element('strong', { textContent: backend, id: `name-${backend}` });
    input.setAttribute('aria-labelledby', `name-${backend}`);
    byId('backends').append(element('label', { className: 'backend' }, input, name, element('small', { id: `told-${backend}`, textContent: told })));
  }
  for (const backend of Object.keys(BACKENDS)) {
    const why = await reasonAgainst(backend);
    if (why) {
      refuse(backend, why);
    }
  }
}

function showFacts() {
  const { height, width, colour, resize, fit } = contract;
  const bytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0);
  const name = new URLSearchParams(location.search).get('model') || manifest.format;
  document.title = `${name} in this browser`;
  byId('model').textContent = name;
  byId('facts').textContent = [manifest.format, megabytes(bytes), `${manifest.labels.length} classes`, `${width} × ${height} ${colour}`].join(' · ');
  byId('golden-told').textContent =
    `The Keras original is right on ${percent(reference.accuracy)} of ${count(golden.count, 'image')}. ` +
    (golden.count > SHOWN ? `Here are ${SHOWN}: choose one.` : 'Choose one.');
  byId('given-told').textContent = `${width} × ${height}, ${colour}: ${fit}, ${resize}, as the contract says`;
}

async function showStrip() {
  const numbers = spread(golden.count, SHOWN);
  const images = await Promise.all(numbers.map(goldenImage));
  const buttons = images.map(({ pixels, source, at }) => {
    const canvas = element('canvas', { 'aria-hidden': 'true' });
    showPixels(canvas, pixels, contract);
    const button = element('button', { type: 'button', title: source, 'aria-label': source, 'aria-pressed': 'false' }, canvas);
    button.dataset.at = at;
    button.addEventListener('click', () => chooseGolden(at));
    return button;
  });
  byId('strip').replaceChildren(...buttons);
  return images.map(({ pixels }) => pixels);
}

function prepareDrawing(images) {
  const look = lookOf(images, contract);
  drawing.prepare([contract.width, contract.height], look);
  byId('guide').hidden = !look.frame;
  byId('guide-told').hidden = !look.frame;
  if (look.frame) {
    const [left, upper, right, lower] = look.frame.map((part) => part * 100);
    Object.assign(byId('guide').style, { left: `${left}%`, top: `${upper}%`, width: `${right - left}%`, height: `${lower - upper}%` });
  }
  byId('clear').addEventListener('click', () => {
    drawing.clear();
    byId('spoken').textContent = 'the drawing is clear';
  });
}

function prepareFiles() {
  byId('file').addEventListener('change', ({ target }) => {
    if (target.files.length) {
      answerFile(target.files[0]);
      // The same file may be chosen again, changed.
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
      answerFile(event.dataTransfer.files[0]);
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
  const asked = classifier;
  const answerOne = (at) =>
    inTurn(async () => (checking && asked === classifier ? asked.answer(await golden.pixels(at)) : null));
  try {
    await checkAll(golden, asked.labels, { answer: answerOne, choose: chooseGolden, ran: asked.backend });
    showLatency(classifier);
  } catch (error) {
    showTrouble(error.message);
  } finally {
    checking = false;
    byId('check').textContent = 'Check all golden images';
  }
}

function time() {
  return inTurn(async () => {
    const timed = [];
    for (let run = 0; run < TIMED; run += 1) {
      await classifier.answer(shown.pixels);
      timed.push(classifier.latenciesMs.at(-1));
      showLatency(classifier);
      await new Promise((resolve) => setTimeout(resolve));
    }
    byId('timed').textContent = `${milliseconds(Math.min(...timed))} to ${milliseconds(Math.max(...timed))}, median ${milliseconds(median(timed))}`;
  });
}

showFacts();
prepareAnswer(manifest.labels);
prepareFiles();
byId('check').addEventListener('click', check);
byId('time').addEventListener('click', time);
await showBackends();
prepareDrawing(await showStrip());
await chooseBackend('wasm');
document.documentElement.dataset.ready = 'true';
