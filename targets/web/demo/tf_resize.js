// SPDX-License-Identifier: Apache-2.0
// tf.image.resize without antialias, for 8-bit images, rounded half to even: what models/tf_resize.py does, to the bit.

import { roundHalfToEven } from './rounding.js';

// Every step is rounded to float32, as TensorFlow's CPU kernels compute.
const float32 = Math.fround;
// Weights of the bicubic filter are looked up at multiples of 1 / 1024, and its a is -0.5 (Keys), as in resize_bicubic_op.cc.
const TABLE = 1024;
const A = -0.5;

const METHODS = {
  'tf-nearest': { taps: nearestTaps, resampled: nearest },
  'tf-bilinear': { taps: bilinearTaps, resampled: bilinear },
  'tf-bicubic': { taps: bicubicTaps, resampled: bicubic },
};

export function isOfTensorFlow(method) {
  return method in METHODS;
}

/**
 * Returns the part `box` (left, upper, right, lower; whole pixels) of an image, resized to width and height.
 * An image is {width, height, channels, data}, its bytes row by row, channels interleaved.
 */
export function resize(image, [width, height], method, box = [0, 0, image.width, image.height]) {
  const [left, upper, right, lower] = box;
  const { taps, resampled } = METHODS[method];
  const [across, down] = [taps(left, right, width), taps(upper, lower, height)];
  const { channels } = image;
  // Rounds half to even, and clips to 0..255.
  const data = new Uint8ClampedArray(width * height * channels);
  const read = (row, column, channel) => image.data[(row * image.width + column) * channels + channel];
  let place = 0;
  for (const row of down) {
    for (const column of across) {
      for (let channel = 0; channel < channels; channel += 1, place += 1) {
        data[place] = resampled(read, row, column, channel);
      }
    }
  }
  return { width, height, channels, data: new Uint8Array(data.buffer) };
}

/** Returns the box of the largest centred part with the aspect of `size`, in whole pixels, as Keras's smart_resize takes it. */
export function largestCentred({ width, height }, size) {
  const part = [
    Math.max(Math.min(width, Math.floor((height * size[0]) / size[1])), 1),
    Math.max(Math.min(height, Math.floor((width * size[1]) / size[0])), 1),
  ];
  const [left, upper] = [Math.floor((width - part[0]) / 2), Math.floor((height - part[1]) / 2)];
  return [left, upper, left + part[0], upper + part[1]];
}

/** Returns the size of the whole image inside `size`, and its left upper corner there, as tf.image.resize_with_pad does. */
export function contained({ width, height }, size) {
  const ratio = Math.max(float32(width / size[0]), float32(height / size[1]));
  const inner = [float32(width / ratio), float32(height / ratio)];
  const corner = inner.map((length, axis) => Math.max(Math.floor(float32(size[axis] - length) / 2), 0));
  return { inner: inner.map(Math.floor), corner };
}

/** Returns where the centres of the new pixels are among the old ones, plus `shift`. */
function placesOf(from, to, length, shift) {
  const scale = float32((to - from) / length);
  return Array.from({ length }, (_, at) => float32(float32((at + 0.5) * scale) + shift));
}

function nearestTaps(from, to, length) {
  return placesOf(from, to, length, 0).map((place) => from + Math.min(Math.floor(place), to - from - 1));
}

function nearest(read, row, column, channel) {
  return read(row, column, channel);
}

function bilinearTaps(from, to, length) {
  return placesOf(from, to, length, -0.5).map((place) => ({
    below: from + Math.max(Math.floor(place), 0),
    above: from + Math.min(Math.ceil(place), to - from - 1),
    part: float32(place - Math.floor(place)),
  }));
}

function bilinear(read, row, column, channel) {
  const upper = between(read(row.below, column.below, channel), read(row.below, column.above, channel), column.part);
  const lower = between(read(row.above, column.below, channel), read(row.above, column.above, channel), column.part);
  return between(upper, lower, row.part);
}

function between(first, second, part) {
  return float32(first + float32(float32(second - first) * part));
}

/** Returns four taps for each new pixel; those outside of the image have no weight, and the others are divided by their sum. */
function bicubicTaps(from, to, length) {
  const weightAt = Array.from({ length: TABLE * 2 + 1 }, (_, at) => cubic(at / TABLE));
  return placesOf(from, to, length, -0.5).map((place) => {
    const below = Math.floor(place);
    const offset = roundHalfToEven(float32(place - below) * TABLE);
    const distances = [TABLE + offset, offset, TABLE - offset, TABLE * 2 - offset];
    const places = distances.map((_, tap) => below - 1 + tap);
    const weights = distances.map((distance, tap) => (places[tap] < 0 || places[tap] >= to - from ? 0 : weightAt[distance]));
    const one = float32(1 / weights.reduce((sum, weight) => float32(sum + weight)));
    return {
      places: places.map((each) => from + Math.min(Math.max(each, 0), to - from - 1)),
      weights: weights.map((weight) => float32(weight * one)),
    };
  });
}

function bicubic(read, row, column, channel) {
  return weighted(column.weights, (across) => weighted(row.weights, (down) => read(row.places[down], column.places[across], channel)));
}

function weighted(weights, valueOf) {
  let sum = float32(valueOf(0) * weights[0]);
  for (let tap = 1; tap < 4; tap += 1) {
    sum = float32(sum + float32(valueOf(tap) * weights[tap]));
  }
  return sum;
}

/** Returns the weight of a pixel at a distance of 0 to 2. */
function cubic(x) {
  return float32(x <= 1 ? ((A + 2) * x - (A + 3)) * x * x + 1 : ((A * x - 5 * A) * x + 8 * A) * x - 4 * A);
}
