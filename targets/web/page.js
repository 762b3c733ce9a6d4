// SPDX-License-Identifier: Apache-2.0
// Runs a job in this page. Images come in and scores go out as bytes: as JSON, eight images took 12.7 s.
'use strict';

/** Returns the report of a job; the scores are posted to the server. */
async function runInPage(job) {
  tf.wasm.setWasmPaths('node_modules/@tensorflow/tfjs-backend-wasm/dist/');
  const libraries = { core: tf, converter: tf, wasm: tf.wasm };
  const images = new Float32Array(await bytesOf(`../work/${job.images}`));
  const { scores, report } = await runJob(libraries, job, (name) => bytesOf(`../artifact/${name}`), images);
  const posted = await fetch(`../${job.scores}`, { method: 'POST', body: scores });
  if (!posted.ok) {
    throw new Error(`the scores could not be handed over: HTTP ${posted.status}`);
  }
  const here = {
    runtime: 'tfjs in chromium',
    user_agent: navigator.userAgent,
    hardware_concurrency: navigator.hardwareConcurrency,
    cross_origin_isolated: crossOriginIsolated,
  };
  return { ...report, environment: { ...here, ...report.environment } };
}

async function bytesOf(address) {
  const response = await fetch(address);
  if (!response.ok) {
    throw new Error(`${address}: HTTP ${response.status}`);
  }
  return response.arrayBuffer();
}
