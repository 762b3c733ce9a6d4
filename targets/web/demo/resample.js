// SPDX-License-Identifier: Apache-2.0
// Resizes 8-bit images as Pillow does, to the bit: Resample.c and, for 'nearest', Geometry.c of Pillow 13, reimplemented.

// Weights are multiples of 2^-22: 32 bits, less 8 of a pixel and 2 that weights below 0 or above 1 may add.
const PRECISION_BITS = 32 - 8 - 2;

const FILTERS = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(1 - Math.abs(x), 0) },
  bicubic: { support: 2, weight: (x) => bicubic(Math.abs(x)) },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/**
 * Returns the part `box` (left, upper, right, lower) of an image, resized to width and height.
 * An image is {width, height, channels, data}, its bytes row by row, channels interleaved.
 */
export function resize(image, [width, height], filter, box = [0, 0, image.width, image.height]) {
  // Pillow keeps the box in single precision.
  const [left, upper, right, lower] = box.map(Math.fround);
  const across = { axis: 0, from: left, to: right, length: width, whole: left === 0 && right === width && width === image.width };
  const down = { axis: 1, from: upper, to: lower, length: height, whole: upper === 0 && lower === height && height === image.height };
  if (filter === 'nearest') {
    return nearest(image, across, down);
  }
  const [removedAcross, removedDown] = [image.width - width, image.height - height];
  // Bytes are rounded between the two passes, so their order matters. Pillow before 13 always begins with the rows.
  const passes = removedDown > 0 && removedDown > removedAcross * 2 ? [down, across] : [across, down];
  return passes.filter((pass) => !pass.whole).reduce((now, pass) => resampled(now, pass, FILTERS[filter]), image);
}

/** Returns the image with the length of one axis changed; the other stays. */
function resampled(image, { axis, from, to, length }, filter) {
  const { channels } = image;
  const size = axis === 0 ? [length, image.height] : [image.width, length];
  const stride = (width) => (axis === 0 ? { along: channels, across: width * channels } : { along: width * channels, across: channels });
  const [read, write] = [stride(image.width), stride(size[0])];
  const weights = weightsOf(axis === 0 ? image.width : image.height, from, to, length, filter);
  const data = new Uint8Array(size[0] * size[1] * channels);
  for (let line = 0; line < size[1 - axis]; line += 1) {
    for (let at = 0; at < length; at += 1) {
      const { first, factors } = weights[at];
      for (let channel = 0; channel < channels; channel += 1) {
        let sum = 1 << (PRECISION_BITS - 1);
        let place = line * read.across + first * read.along + channel;
        for (let tap = 0; tap < factors.length; tap += 1, place += read.along) {
          sum += image.data[place] * factors[tap];
        }
        data[line * write.across + at * write.along + channel] = Math.min(Math.max(sum >> PRECISION_BITS, 0), 255);
      }
    }
  }
  return { width: size[0], height: size[1], channels, data };
}

/** Returns, for each pixel of the new length, the first pixel of the old length that it reads, and the integer weights. */
function weightsOf(oldLength, from, to, length, { support, weight }) {
  const scale = Math.fround(to - from) / length;
  const stretch = Math.max(scale, 1);
  const reach = support * stretch;
  return Array.from({ length }, (_, at) => {
    const centre = from + (at + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const last = Math.min(Math.trunc(centre + reach + 0.5), oldLength);
    const raw = Array.from({ length: last - first }, (__, tap) => weight((tap + first - centre + 0.5) * (1 / stretch)));
    const sum = raw.reduce((total, each) => total + each, 0);
    return { first, factors: Int32Array.from(raw, (each) => inFixedPoint(sum === 0 ? each : each / sum)) };
  });
}

function inFixedPoint(weight) {
  return Math.trunc((weight < 0 ? -0.5 : 0.5) + weight * (1 << PRECISION_BITS));
}

function nearest(image, across, down) {
  const { channels } = image;
  const [columns, rows] = [nearestOf(image.width, across), nearestOf(image.height, down)];
  const data = new Uint8Array(columns.length * rows.length * channels);
  let place = 0;
  for (const row of rows) {
    for (const column of columns) {
      const start = (row * image.width + column) * channels;
      for (let channel = 0; channel < channels; channel += 1, place += 1) {
        // Outside of the image is black.
        data[place] = row < 0 || column < 0 ? 0 : image.data[start + channel];
      }
    }
  }
  return { width: columns.length, height: rows.length, channels, data };
}

/** Returns the source of each new pixel, -1 for none; summed step by step, because Pillow rounds the running sum. */
function nearestOf(oldLength, { from, to, length }) {
  const step = Math.fround(to - from) / length;
  let at = from + step * 0.5;
  return Array.from({ length }, () => {
    const found = at < 0 || at >= oldLength ? -1 : Math.trunc(at);
    at += step;
    return found;
  });
}

function bicubic(x) {
  const a = -0.5;
  if (x < 1) {
    return ((a + 2) * x - (a + 3)) * x * x + 1;
  }
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}
