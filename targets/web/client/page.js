// SPDX-License-Identifier: Apache-2.0
// Runs a job in this page. Images and scores are transferred as bytes: as JSON, eight images took 12.7 s.
import { litertEngine } from './engine_litert.js';
import { ortEngine } from './engine_ort.js';
import { tfjsEngine } from './engine_tfjs.js';
import { runJob } from './runner.js';
import { wasmBytes } from './wasm_memory.js';

const TFJS = '../node_modules/@tensorflow';
const ENGINES = { tfjs: startTfjs, ort: ortEngine, litert: litertEngine };
const REPORT = 'report.json';
const ARRAYS = { float32: Float32Array, uint8: Uint8Array };

/** Returns the report of a job and posts its scores to the server. A browser that is not driven opens the page with #job.json. */
window.runInPage = async (job) => {
  const images = new ARRAYS[job.dtype](await bytesOf(`../../work/${job.images}`));
  const engine = await ENGINES[job.engine](job);
  const { scores, report } = await runJob(engine, job, (name) => bytesOf(`../../artifact/${name}`), images, {
    ask: window.askForQuiet,
    release: window.releaseQuiet,
  });
  if (scores) {
    await post(`../../${job.scores}`, scores);
  }
  return { ...report, environment: { ...browserFacts(), ...report.environment } };
};

if (location.hash) {
  runAlone(`../../work/${location.hash.slice(1)}`);
}

/** Runs the job at an address and posts its report, or its error. */
async function runAlone(address) {
  let report;
  try {
    report = await window.runInPage(JSON.parse(new TextDecoder().decode(await bytesOf(address))));
  } catch (error) {
    report = { error: String(error) };
  }
  await post(`../../${REPORT}`, JSON.stringify(report));
}

/** Returns TensorFlow.js's engine, the scripts of one backend loaded. */
async function startTfjs(job) {
  for (const name of ['core', 'converter', ...(job.backend === 'webgl' ? ['backend-cpu'] : []), `backend-${job.backend}`]) {
    await script(`${TFJS}/tfjs-${name}/dist/tf-${name}.min.js`);
  }
  if (job.backend === 'wasm') {
    tf.wasm.setWasmPaths(`${TFJS}/tfjs-backend-wasm/dist/`);
  }
  return tfjsEngine({ core: tf, converter: tf, wasm: tf.wasm });
}

function script(address) {
  return new Promise((loaded, failed) => {
    const element = Object.assign(document.createElement('script'), { src: address, onload: loaded });
    element.onerror = () => failed(new Error(`${address} cannot be loaded`));
    document.head.append(element);
  });
}

async function post(address, body) {
  const posted = await fetch(address, { method: 'POST', body });
  if (!posted.ok) {
    throw new Error(`${address} could not be posted: HTTP ${posted.status}`);
  }
}

async function bytesOf(address) {
  const response = await fetch(address);
  if (!response.ok) {
    throw new Error(`${address}: HTTP ${response.status}`);
  }
  return response.arrayBuffer();
}

function browserFacts() {
  return {
    user_agent: navigator.userAgent,
    hardware_concurrency: navigator.hardwareConcurrency,
    cross_origin_isolated: crossOriginIsolated,
    wasm_bytes: wasmBytes(),
  };
}
