// SPDX-License-Identifier: Apache-2.0
// The config's preprocessing: from a decoded picture to exactly the tensor that models/images.py makes of it.

import { resize } from './resample.js';
import { roundHalfToEven } from './rounding.js';
import * as tensorflow from './tf_resize.js';

const PILLOW = { resize, largestCentred, contained };

/**
 * Returns a picture's pixels after preprocessing, before normalisation: Uint8Array, [height, width, channels].
 * A picture is {width, height, data} with four bytes per pixel; the fourth, its opacity, is ignored as in Pillow.
 */
export function pixelsOf(picture, preprocessing) {
  const size = [preprocessing.width, preprocessing.height];
  const image = preprocessing.colour === 'gray' ? gray(picture) : colours(picture, preprocessing.colour === 'bgr');
  const library = tensorflow.isOfTensorFlow(preprocessing.resize) ? tensorflow : PILLOW;
  if (preprocessing.fit === 'crop') {
    return library.resize(image, size, preprocessing.resize, library.largestCentred(image, size)).data;
  }
  if (preprocessing.fit === 'pad') {
    return padded(image, size, preprocessing.resize, library);
  }
  return library.resize(image, size, preprocessing.resize).data;
}

/** Returns (pixel - mean) / std, every step rounded to float32 as numpy rounds it. */
export function normalise(pixels, { mean, std }) {
  const [means, deviations] = [Float32Array.from(mean), Float32Array.from(std)];
  const channels = means.length;
  return Float32Array.from(pixels, (pixel, at) => Math.fround(pixel - means[at % channels]) / deviations[at % channels]);
}

/** Returns one channel: ITU-R 601-2 luma in Pillow's integer arithmetic. */
function gray({ width, height, data }) {
  const bytes = new Uint8Array(width * height);
  for (let at = 0; at < bytes.length; at += 1) {
    const [red, green, blue] = [data[at * 4], data[at * 4 + 1], data[at * 4 + 2]];
    bytes[at] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
  return { width, height, channels: 1, data: bytes };
}

function colours({ width, height, data }, swapped) {
  const bytes = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < bytes.length; from += 4, to += 3) {
    bytes[to] = data[swapped ? from + 2 : from];
    bytes[to + 1] = data[from + 1];
    bytes[to + 2] = data[swapped ? from : from + 2];
  }
  return { width, height, channels: 3, data: bytes };
}

/** Returns the box of the largest centred part with the aspect of `size`, as PIL.ImageOps.fit takes it. */
function largestCentred({ width, height }, size) {
  const aspect = size[0] / size[1];
  const wide = width / height > aspect;
  const tall = width / height < aspect;
  const part = [wide ? aspect * height : width, tall ? width / aspect : height];
  const [left, upper] = [(width - part[0]) * 0.5, (height - part[1]) * 0.5];
  return [left, upper, left + part[0], upper + part[1]];
}

/** Returns the pixels of the whole image inside `size`, with black bars. */
function padded(image, size, filter, library) {
  const { channels } = image;
  const { inner, corner } = library.contained(image, size);
  const data = new Uint8Array(size[0] * size[1] * channels);
  if (Math.min(...inner) === 0) {
    return data;
  }
  const fitted = library.resize(image, inner, filter);
  const length = inner[0] * channels;
  for (let row = 0; row < inner[1]; row += 1) {
    data.set(fitted.data.subarray(row * length, (row + 1) * length), ((corner[1] + row) * size[0] + corner[0]) * channels);
  }
  return data;
}

/** Returns the size of the whole image inside `size`, and its left upper corner there, as PIL.ImageOps.pad does. */
function contained({ width, height }, size) {
  const [aspect, wanted] = [width / height, size[0] / size[1]];
  const inner = [
    aspect < wanted ? roundHalfToEven(aspect * size[1]) : size[0],
    aspect > wanted ? roundHalfToEven((height / width) * size[0]) : size[1],
  ];
  return { inner, corner: inner.map((length, axis) => roundHalfToEven((size[axis] - length) * 0.5)) };
}
