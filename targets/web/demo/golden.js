// SPDX-License-Identifier: Apache-2.0
// The golden images, their labels and the Keras model's scores: the .npy files of the reference, read in parts.
import { bytesOf } from './server.js';

const TYPES = { '|u1': Uint8Array, '<f4': Float32Array, '<i8': BigInt64Array };
// numpy pads a header to a multiple of 64 bytes; headers of these files take 128.
const HEADER_BYTES = 1024;

/** Returns {count, labels, pixels, scores}; `pixels(at)` and `scores(at)` resolve to one image's. */
export async function openGolden(folder) {
  const [pixels, scores, labels] = await Promise.all(['pixels', 'scores', 'labels'].map((name) => openNpy(`${folder}/${name}.npy`)));
  return {
    count: pixels.shape[0],
    labels: Array.from(await rows(labels, 0, labels.shape[0]), Number),
    pixels: (at) => rows(pixels, at, 1),
    scores: (at) => rows(scores, at, 1),
  };
}

/** Returns the indices of the images to show, spread evenly: golden images may be sorted by their labels. */
export function spread(count, most) {
  const shown = Math.min(count, most);
  return Array.from({ length: shown }, (_, at) => Math.floor((at * count) / shown));
}

async function openNpy(address) {
  const bytes = await bytesOf(address, 0, HEADER_BYTES);
  const view = new DataView(bytes);
  // Version 1 counts the header in two bytes, the later ones in four.
  const [start, length] = view.getUint8(6) === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const header = new TextDecoder().decode(bytes.slice(start, start + length));
  const numbers = header.match(/'shape': \(([^)]*)\)/)[1];
  return {
    address,
    start: start + length,
    type: TYPES[header.match(/'descr': '([^']*)'/)[1]],
    shape: numbers.split(',').filter((each) => each.trim()).map(Number),
  };
}

async function rows({ address, start, type, shape }, first, count) {
  const bytes = shape.slice(1).reduce((product, length) => product * length, 1) * type.BYTES_PER_ELEMENT;
  return new type(await bytesOf(address, start + first * bytes, count * bytes));
}
