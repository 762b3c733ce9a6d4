// SPDX-License-Identifier: Apache-2.0
// The artifact on one of TensorFlow.js's backends, as the targets run it, and the backends that this browser has.
import { tfjsEngine } from '../client/engine_tfjs.js';
import { normalise } from './preprocess.js';
import { count } from './view.js';

export const BACKENDS = { wasm: 'CPU', webgl: 'GPU', webgpu: 'GPU', cpu: 'plain JavaScript' };

const LIBRARIES = '../node_modules/@tensorflow';

/** Returns why a backend cannot run in this browser, or null. */
export async function reasonAgainst(backend) {
  if (backend === 'webgl' && !hasWebGl()) {
    return 'this browser has no WebGL';
  }
  if (backend === 'webgpu') {
    if (!navigator.gpu) {
      return 'this browser has no WebGPU';
    }
    return (await navigator.gpu.requestAdapter()) ? null : 'no WebGPU adapter here';
  }
  return null;
}

/** Returns the loaded artifact of a manifest on a backend; throws where another backend would run. */
export async function openClassifier(backend, manifest, read) {
  await library(backend);
  const { tf } = globalThis;
  tf.wasm?.setWasmPaths(new URL(`${LIBRARIES}/tfjs-backend-wasm/dist/`, document.baseURI).href);
  const { height, width, mean } = manifest.preprocessing;
  const engine = tfjsEngine({ core: tf, converter: tf, wasm: tf.wasm });
  const load = await engine({ backend, model: manifest.main_file, threads: threads(), shape: [1, height, width, mean.length] });
  return new Classifier(backend, manifest, await load(read));
}

/** A loaded artifact; keeps the milliseconds of each inference, the first separately. */
class Classifier {
  firstMs = null;
  latenciesMs = [];
  #model;
  #manifest;

  constructor(backend, manifest, model) {
    this.backend = backend;
    this.labels = model.labels ?? manifest.labels;
    this.gpu = model.gpu;
    this.#model = model;
    this.#manifest = manifest;
  }

  /** Switches back to this backend; throws where TensorFlow.js does not. */
  async resume() {
    await tf.setBackend(this.backend);
    this.#refuseAnother();
  }

  /** Returns the probabilities of one image, given as preprocessed pixels. */
  async predict(pixels) {
    this.#refuseAnother();
    const image = this.#model.ready(normalise(pixels, this.#manifest.preprocessing));
    const start = performance.now();
    const row = await image.predict();
    const ms = performance.now() - start;
    image.release();
    if (this.firstMs === null) {
      this.firstMs = ms;
    } else {
      this.latenciesMs.push(ms);
    }
    return this.#manifest.output === 'logits' ? softmax(row) : row;
  }

  /** Returns the runtime, backend, threads and GPU as text. */
  description() {
    const threadCount = this.backend === 'wasm' ? `, ${count(tf.wasm.getThreadsCount(), 'thread')}` : '';
    const gpu = this.gpu.renderer ?? this.gpu.adapter;
    return `TensorFlow.js ${tf.version_core} on ${tf.getBackend()}${threadCount}${gpu ? `: ${gpu}` : ''}`;
  }

  // TensorFlow.js silently falls back to another backend.
  #refuseAnother() {
    if (tf.getBackend() !== this.backend) {
      throw new Error(`the backend ${this.backend} was requested, but ${tf.getBackend()} runs`);
    }
  }
}

function threads() {
  return Math.max(1, Math.min(4, Math.floor(navigator.hardwareConcurrency / 2)));
}

function hasWebGl() {
  const context = document.createElement('canvas').getContext('webgl2');
  context?.getExtension('WEBGL_lose_context')?.loseContext();
  return context !== null;
}

const loaded = new Map();

function library(backend) {
  if (!loaded.has(backend)) {
    loaded.set(backend, script(`${LIBRARIES}/tfjs-backend-${backend}/dist/tf-backend-${backend}.min.js`));
  }
  return loaded.get(backend);
}

function script(address) {
  return new Promise((resolve, reject) => {
    const element = document.createElement('script');
    element.src = address;
    element.onload = resolve;
    element.onerror = () => reject(new Error(`${address} cannot be loaded; \`make install\`, or npm ci in targets/web, installs it`));
    document.head.append(element);
  });
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const exponentials = Array.from(logits, (each) => Math.exp(each - largest));
  const sum = exponentials.reduce((total, each) => total + each, 0);
  return Float32Array.from(exponentials, (each) => each / sum);
}
