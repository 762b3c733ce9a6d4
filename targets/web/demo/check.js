// SPDX-License-Identifier: Apache-2.0
// Runs every golden image in this page and compares the scores with the Keras model's.
import { best, byId, difference, element, largestDifference } from './view.js';

const LISTED = 12;
// How long the page may be busy before it handles user input.
const BUSY_MS = 40;

/**
 * Runs all golden images and shows the comparison. `predict(at)` resolves to the scores, or to null where the check has ended:
 * another backend was chosen, or it was stopped. `choose(at)` shows one image.
 */
export async function checkAll(golden, labels, { predict, choose, ran }) {
  begin(golden.count);
  const found = { differing: [], largest: 0, done: 0 };
  let rested = performance.now();
  for (let at = 0; at < golden.count; at += 1) {
    const [scores, reference] = [await predict(at), await golden.scores(at)];
    if (!scores) {
      byId('checked').textContent = `Stopped after ${found.done} of ${golden.count} images.`;
      return;
    }
    found.done += 1;
    found.largest = Math.max(found.largest, largestDifference(scores, reference));
    if (best(scores) !== best(reference)) {
      found.differing.push({ at, here: labels[best(scores)], keras: labels[best(reference)] });
    }
    if (performance.now() - rested > BUSY_MS) {
      byId('progress').value = found.done;
      await new Promise((resolve) => setTimeout(resolve));
      rested = performance.now();
    }
  }
  byId('progress').value = golden.count;
  finish(found, golden.count, { choose, ran });
}

function begin(count) {
  byId('progress').max = count;
  byId('progress').value = 0;
  byId('checked').textContent = '\u00a0';
  byId('differing').replaceChildren();
}

function finish({ differing, largest }, count, { choose, ran }) {
  const same = count - differing.length;
  // Rounded down: only all of them are 100 %.
  const share = Math.floor((same / count) * 1000) / 10;
  byId('checked').replaceChildren(
    element('b', {
      className: differing.length ? 'differs' : 'same',
      textContent: differing.length ? `≠ ${differing.length} predicted differently` : '= All predictions agree',
    }),
    `: ${share} % agreement, ${same} of ${count} images; largest difference ${difference(largest)}. Measured in this page on ${ran}.`,
  );
  byId('differing').replaceChildren(
    ...differing.slice(0, LISTED).map(({ at, here, keras }) => {
      const button = element('button', { type: 'button', textContent: `image ${at + 1}: here ${here}, Keras ${keras}` });
      button.addEventListener('click', () => choose(at));
      return element('li', {}, button);
    }),
    ...(differing.length > LISTED ? [element('li', { className: 'soft', textContent: `and ${differing.length - LISTED} more` })] : []),
  );
}
