// SPDX-License-Identifier: Apache-2.0
// A whole job with TensorFlow.js: load a graph model, answer every image, time one of them. The same in Node and in a page.
'use strict';

/**
 * Returns the scores of all images (Float32Array, one row after another) and a report: labels, times in milliseconds, what ran.
 * `libraries` holds tfjs-core, -converter and -backend-wasm; `read(name)` resolves to the bytes of one of the artifact's files;
 * `images` is a Float32Array of [count, height, width, channels], normalised.
 */
async function runJob(libraries, job, read, images) {
  const { core } = libraries;
  await startBackend(libraries, job);
  const start = performance.now();
  const model = await libraries.converter.loadGraphModel(artifactFiles(core, job.model, read));
  const loadMs = performance.now() - start;
  const tensorsBefore = core.memory().numTensors;
  const times = await answerAndTime(core, model, job, images);
  return {
    scores: times.scores,
    report: {
      labels: (model.metadata && model.metadata.labels) || null,
      load_ms: loadMs,
      first_ms: times.firstMs,
      latencies_ms: times.latenciesMs,
      environment: await environment(libraries, core.memory().numTensors - tensorsBefore),
    },
  };
}

async function startBackend({ core, wasm }, job) {
  wasm.setThreadsCount(job.threads);
  const taken = await core.setBackend(job.backend);
  await core.ready();
  // TensorFlow.js goes on with another backend without a word.
  if (!taken || core.getBackend() !== job.backend) {
    throw new Error(`the backend ${job.backend} was asked for, ${core.getBackend()} is what ran`);
  }
}

/** Returns an IOHandler that reads the model's JSON and weight files through `read`, from a disk or a server alike. */
function artifactFiles(core, file, read) {
  return {
    load: async () => {
      const told = JSON.parse(new TextDecoder().decode(await read(file)));
      return core.io.getModelArtifactsForJSON(told, async (groups) => {
        const paths = groups.flatMap((group) => group.paths);
        return [groups.flatMap((group) => group.weights), await Promise.all(paths.map(read))];
      });
    },
  };
}

async function answerAndTime(core, model, job, images) {
  const [count, ...shape] = job.shape;
  const size = shape.reduce((product, length) => product * length, 1);
  const imageAt = (at) => core.tensor(images.slice(at * size, (at + 1) * size), [1, ...shape]);
  const firstImage = imageAt(0);
  const firstMs = (await answerTimed(core, model, firstImage)).ms;
  const rows = [];
  for (let at = 0; at < count; at += 1) {
    const image = imageAt(at);
    rows.push((await answerTimed(core, model, image)).row);
    image.dispose();
  }
  for (let round = 0; round < job.warmup; round += 1) {
    await answerTimed(core, model, firstImage);
  }
  const latenciesMs = [];
  for (let round = 0; round < job.rounds; round += 1) {
    latenciesMs.push((await answerTimed(core, model, firstImage)).ms);
  }
  firstImage.dispose();
  const scores = new Float32Array(count * rows[0].length);
  rows.forEach((row, at) => scores.set(row, at * row.length));
  return { scores, firstMs, latenciesMs };
}

/** Returns one image's row and the milliseconds from the call to the answer in memory; the call alone only queues the work. */
async function answerTimed(core, model, image) {
  const start = performance.now();
  const answer = model.predict(image);
  // A model with structured output names answers {name: tensor}.
  const output = answer instanceof core.Tensor ? answer : Object.values(answer)[0];
  const row = await output.data();
  const ms = performance.now() - start;
  core.dispose(answer);
  return { row, ms };
}

async function environment({ core, wasm }, leakedTensors) {
  const flags = core.env();
  return {
    version: core.version_core,
    backend: core.getBackend(),
    threads: wasm.getThreadsCount(),
    simd: await flags.getAsync('WASM_HAS_SIMD_SUPPORT'),
    multithreaded_build: await flags.getAsync('WASM_HAS_MULTITHREAD_SUPPORT'),
    leaked_tensors: leakedTensors,
  };
}

if (typeof module === 'object') {
  module.exports = { runJob };
}
