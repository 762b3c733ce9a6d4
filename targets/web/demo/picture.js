// SPDX-License-Identifier: Apache-2.0
// Pictures: decoded from files by the browser, and preprocessed pixels shown.

// Colours as stored in the file, rotated by its EXIF orientation, as Pillow returns them.
const AS_STORED = { imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none' };

/** Returns a file's picture: {width, height, data}, four bytes per pixel. */
export async function decoded(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, AS_STORED);
  } catch {
    throw new Error(`${file.name || 'this'}: not an image that this browser can decode; use PNG, JPEG, WebP, GIF or BMP`);
  }
  try {
    const picture = drawn(bitmap);
    return isOpaque(picture) ? picture : throughTexture(bitmap);
  } finally {
    bitmap.close();
  }
}

/** Shows preprocessed pixels on a canvas of their own size. */
export function showPixels(canvas, pixels, { width, height, colour }) {
  const image = new ImageData(width, height);
  const channels = colour === 'gray' ? 1 : 3;
  const [red, green, blue] = { gray: [0, 0, 0], rgb: [0, 1, 2], bgr: [2, 1, 0] }[colour];
  for (let at = 0; at < width * height; at += 1) {
    const from = at * channels;
    image.data.set([pixels[from + red], pixels[from + green], pixels[from + blue], 255], at * 4);
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext('2d').putImageData(image, 0, 0);
}

/** Shows a whole picture in the middle of a canvas. */
export function showPreview(canvas, { width, height, data }) {
  const whole = new OffscreenCanvas(width, height);
  whole.getContext('2d').putImageData(new ImageData(new Uint8ClampedArray(data), width, height), 0, 0);
  const scale = Math.min(canvas.width / width, canvas.height / height);
  const [wide, tall] = [width * scale, height * scale];
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(whole, (canvas.width - wide) / 2, (canvas.height - tall) / 2, wide, tall);
}

function drawn(bitmap) {
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

function isOpaque({ data }) {
  for (let at = 3; at < data.length; at += 4) {
    if (data[at] !== 255) {
      return false;
    }
  }
  return true;
}

/** Returns a picture with the colours of its transparent pixels: a canvas multiplies them by their opacity, a texture does not. */
function throughTexture(bitmap) {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext('webgl2');
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
    throw new Error('an image with transparency needs WebGL to be read exactly, which is not available here; save it without transparency');
  }
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
  const data = new Uint8Array(width * height * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data);
  gl.getExtension('WEBGL_lose_context')?.loseContext();
  return { width, height, data };
}
