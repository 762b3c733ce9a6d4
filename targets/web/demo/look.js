// SPDX-License-Identifier: Apache-2.0
// The look of the golden images, which drawings imitate: background, ink, width and blur of the strokes, their position.

/**
 * Returns {paper, ink, pen, blur, frame} from some golden images of a config: grays from 0 to 255, the pen's width and the
 * standard deviation of its blur as fractions of the shorter side, and the area that ink covers, [left, upper, right, lower] from
 * 0 to 1. Where images are not strokes, frame is null.
 */
export function lookOf(images, preprocessing) {
  const { width, height, colour } = preprocessing;
  const channels = colour === 'gray' ? 1 : 3;
  const grays = images.map((pixels) => Float32Array.from({ length: width * height }, (_, at) => mean(pixels, at, channels)));
  const paper = median(grays.flatMap((image) => border(image, width, height))) < 128 ? 0 : 255;
  const inked = grays.map((image) => image.map((gray) => (Math.abs(gray - paper) > 96 ? 1 : 0)));
  const found = inked.map((image) => stroke(image, width, height)).filter((each) => each.area > 0);
  const share = found.reduce((total, { area }) => total + area, 0) / (images.length * width * height);
  // Strokes of one gray on a plain background leave more than half of it empty.
  if (colour !== 'gray' || !found.length || share > 0.5) {
    return { paper, ink: 255 - paper, pen: 0.07, blur: 0, frame: null };
  }
  const side = Math.min(width, height);
  const breadth = median(found.map(({ area, edge }) => (2 * area) / edge)) / side;
  return {
    paper,
    ink: 255 - paper,
    pen: Math.min(Math.max(breadth, 0.03), 0.2),
    // An edge from 0 to 255, blurred with the deviation s, rises by at most 255 / (s * sqrt(2 pi)) per pixel.
    blur: 255 / (median(grays.map((image) => steepest(image, width))) * Math.sqrt(2 * Math.PI)) / side,
    frame: [0, 1, 2, 3].map((edge) => median(found.map(({ frame }) => frame[edge]))),
  };
}

function mean(pixels, at, channels) {
  let sum = 0;
  for (let channel = 0; channel < channels; channel += 1) {
    sum += pixels[at * channels + channel];
  }
  return sum / channels;
}

function border(image, width, height) {
  return Array.from(image).filter((_, at) => {
    const [x, y] = [at % width, Math.floor(at / width)];
    return x === 0 || y === 0 || x === width - 1 || y === height - 1;
  });
}

/** Returns how many pixels are inked, how many of their sides are not, and the frame around them. */
function stroke(image, width, height) {
  let [area, edge] = [0, 0];
  const frame = [1, 1, 0, 0];
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : image[y * width + x]);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (at(x, y)) {
        area += 1;
        edge += 4 - at(x - 1, y) - at(x + 1, y) - at(x, y - 1) - at(x, y + 1);
        frame[0] = Math.min(frame[0], x / width);
        frame[1] = Math.min(frame[1], y / height);
        frame[2] = Math.max(frame[2], (x + 1) / width);
        frame[3] = Math.max(frame[3], (y + 1) / height);
      }
    }
  }
  return { area, edge, frame };
}

function steepest(image, width) {
  return image.reduce((most, gray, at) => (at % width ? Math.max(most, Math.abs(gray - image[at - 1])) : most), 1);
}

function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted.length ? sorted[Math.floor(sorted.length / 2)] : 0;
}
