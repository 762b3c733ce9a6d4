// SPDX-License-Identifier: Apache-2.0
// Times several graph models interleaved, on TensorFlow.js's wasm backend; run it in a folder that holds node_modules.
// Takes {shape, image, folders: {name: folder}, repetitions, inferences} on stdin, writes {name: {scores, cpu_ms}} to stdout.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { createRequire } = require('node:module');

const here = createRequire(path.join(process.cwd(), 'package.json'));
const core = here('@tensorflow/tfjs-core');
const { loadGraphModel } = here('@tensorflow/tfjs-converter');
here('@tensorflow/tfjs-backend-wasm');

function bytesOf(file) {
  const buffer = fs.readFileSync(file);
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
}

function filesIn(folder) {
  const model = JSON.parse(fs.readFileSync(path.join(folder, 'model.json'), 'utf8'));
  const weightsOf = async (groups) => [
    groups.flatMap((group) => group.weights),
    groups.flatMap((group) => group.paths).map((name) => bytesOf(path.join(folder, name))),
  ];
  return { load: () => core.io.getModelArtifactsForJSON(model, weightsOf) };
}

async function predict(model, image) {
  const output = model.predict(image);
  const scores = await output.data();
  output.dispose();
  return scores;
}

/** Returns the CPU milliseconds of one inference, the mean of an iteration. */
async function iterate(model, image, inferences) {
  const start = process.cpuUsage();
  for (let number = 0; number < inferences; number += 1) {
    await predict(model, image);
  }
  const used = process.cpuUsage(start);
  return (used.user + used.system) / 1000 / inferences;
}

async function main() {
  const request = JSON.parse(fs.readFileSync(0, 'utf8'));
  if (!(await core.setBackend('wasm')) || core.getBackend() !== 'wasm') {
    throw new Error(`requested the backend wasm, ${core.getBackend()} runs`);
  }
  const image = core.tensor(request.image, request.shape);
  const models = [];
  for (const [name, folder] of Object.entries(request.folders)) {
    models.push({ name, model: await loadGraphModel(filesIn(folder)), cpuMs: [] });
  }
  for (const { model } of models) {
    await iterate(model, image, request.inferences);
  }
  for (let repetition = 0; repetition < request.repetitions; repetition += 1) {
    // First and second swap places, so that neither always follows the other.
    for (const each of repetition % 2 ? [...models].reverse() : models) {
      each.cpuMs.push(await iterate(each.model, image, request.inferences));
    }
  }
  const found = {};
  for (const { name, model, cpuMs } of models) {
    found[name] = { scores: Array.from(await predict(model, image)), cpu_ms: cpuMs };
  }
  process.stdout.write(JSON.stringify(found));
}

main();
