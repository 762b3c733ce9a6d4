// SPDX-License-Identifier: Apache-2.0
// The page's texts, put into its elements.

export const byId = (id) => document.getElementById(id);

const ROWS = 6;
const RECENT = 60;

/** Returns an element with properties and children; a property with a dash is an attribute. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-')) {
      made.setAttribute(name, value);
    } else {
      made[name] = value;
    }
  }
  made.append(...children);
  return made;
}

export function count(number, what) {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

export function megabytes(bytes) {
  return bytes < 1e6 ? `${(bytes / 1e3).toPrecision(3)} kB` : `${(bytes / 1e6).toPrecision(3)} MB`;
}

export const percent = (value) => `${(value * 100).toFixed(1)} %`;

/** Returns a difference of probabilities in the report's format. */
export function difference(value) {
  return value === 0 ? '0' : value < 0.0001 ? value.toExponential(0) : value.toFixed(4);
}

export function milliseconds(value) {
  if (value === null || value === undefined) {
    return '–';
  }
  return `${value < 1 ? value.toFixed(3) : value < 100 ? value.toPrecision(3) : value.toFixed(0)} ms`;
}

export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length / 2;
  return sorted.length % 2 ? sorted[Math.floor(middle)] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function best(scores) {
  return scores.reduce((top, score, at) => (score > scores[top] ? at : top), 0);
}

export function largestDifference(scores, others) {
  return scores.reduce((most, score, at) => Math.max(most, Math.abs(score - others[at])), 0);
}

/** Makes the rows of the prediction's table, as many as it will ever have. */
export function preparePrediction(labels) {
  const bar = (side) => element('td', { className: side }, element('span', { textContent: '–' }), element('div', { className: 'bar', 'aria-hidden': 'true' }, element('i')));
  const rows = Array.from({ length: Math.min(ROWS, labels.length) }, () =>
    element('tr', {}, element('th', { scope: 'row' }, element('span')), bar('here'), bar('keras')),
  );
  byId('classes').replaceChildren(...rows);
  byId('classes').parentElement.classList.toggle('wordy', labels.some((label) => label.length > 8));
}

/** Shows a prediction: {source, scores, reference}, where reference holds the Keras model's scores or is null. Returns its text. */
export function showPrediction({ source, scores, reference }, labels) {
  const top = best(scores);
  byId('source').textContent = source;
  byId('top').textContent = labels[top];
  byId('top').title = labels[top];
  byId('top').parentElement.classList.toggle('long', labels[top].length > 14);
  byId('top-probability').textContent = percent(scores[top]);
  const words = verdict(scores, reference, labels);
  byId('verdict').replaceChildren(words.mark, words.rest);
  const shown = chosen(scores, reference);
  [...byId('classes').rows].forEach((row, at) => showRow(row, shown[at], { scores, reference, labels }));
  return `${source}: ${labels[top]}, ${percent(scores[top])}. ${words.mark.textContent}${words.rest}`;
}

function verdict(scores, reference, labels) {
  if (!reference) {
    return { mark: element('b'), rest: 'Keras scores exist only for the golden images: choose one to compare.' };
  }
  const [here, there] = [best(scores), best(reference)];
  const largest = difference(largestDifference(scores, reference));
  return here === there
    ? { mark: element('b', { className: 'same', textContent: '= Same prediction' }), rest: ` as the Keras model; largest probability difference ${largest}.` }
    : { mark: element('b', { className: 'differs', textContent: '≠ Different prediction' }), rest: `: the Keras model predicts ${labels[there]}, ${percent(reference[there])}; largest probability difference ${largest}.` };
}

/** Returns the most probable classes of either, in the order of the scores here. */
function chosen(scores, reference) {
  const weight = (at) => Math.max(scores[at], reference ? reference[at] : 0);
  const most = Array.from(scores.keys()).sort((one, other) => weight(other) - weight(one));
  return most.slice(0, ROWS).sort((one, other) => scores[other] - scores[one]);
}

function showRow(row, at, { scores, reference, labels }) {
  const [name, here, keras] = row.cells;
  name.firstChild.textContent = labels[at];
  name.title = labels[at];
  showBar(here, scores[at]);
  showBar(keras, reference ? reference[at] : null);
}

function showBar(cell, value) {
  cell.firstChild.textContent = value === null ? '–' : percent(value);
  cell.lastChild.firstChild.style.width = value === null ? '0' : `${value * 100}%`;
}

/** Shows the latencies of a classifier. */
export function showLatency({ firstMs, latenciesMs }) {
  byId('first').textContent = milliseconds(firstMs);
  byId('last').textContent = milliseconds(latenciesMs.at(-1));
  byId('median').textContent = latenciesMs.length ? milliseconds(median(latenciesMs)) : '–';
  byId('median-text').textContent = latenciesMs.length ? `median of ${latenciesMs.length}` : 'median';
  const recent = latenciesMs.slice(-RECENT);
  const most = Math.max(...recent);
  byId('recent').replaceChildren(
    ...recent.map((ms, at) => {
      const bar = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
      const height = (ms / most) * 38;
      for (const [name, value] of Object.entries({ x: at * 5, y: 40 - height, width: 3.6, height })) {
        bar.setAttribute(name, value);
      }
      return bar;
    }),
  );
}

/** Shows what runs, with a note for a software-rendered GPU. */
export function showRan(classifier) {
  const software = classifier.gpu.software_gpu;
  byId('ran').replaceChildren(
    classifier.description(),
    ...(software ? [' ', element('b', { textContent: 'A software-rendered GPU: its latency is not representative.' })] : []),
  );
}

/** Shows an error, or none. */
export function showTrouble(message) {
  byId('trouble').textContent = message;
  byId('trouble').hidden = !message;
}
