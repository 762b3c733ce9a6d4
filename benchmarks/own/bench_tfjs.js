// SPDX-License-Identifier: Apache-2.0
// Runs several graph models on TensorFlow.js's wasm backend; run it in a folder that holds node_modules.
// Reads {shape, image, folders: {name: folder}} on stdin. Writes {name: {scores, metadata, named} or {error}} to stdout, where
// `named` lists the keys of a structured output, else null. With {repetitions, inferences} too, it also times the models,
// interleaved, and writes {name: {scores, metadata, named, cpu_ms}}; a model that cannot run then ends the program.
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
  const json = JSON.parse(fs.readFileSync(path.join(folder, 'model.json'), 'utf8'));
  const weightsOf = async (groups) => [
    groups.flatMap((group) => group.weights),
    groups.flatMap((group) => group.paths).map((name) => bytesOf(path.join(folder, name))),
  ];
  return { load: () => core.io.getModelArtifactsForJSON(json, weightsOf) };
}

/** Returns the scores of one inference, and the keys of a structured output. */
async function predict(model, image) {
  const output = model.predict(image);
  const isTensor = output instanceof core.Tensor;
  const tensor = isTensor ? output : Object.values(output)[0];
  const scores = await tensor.data();
  tensor.dispose();
  return { scores, named: isTensor ? null : Object.keys(output) };
}

async function described(model, image) {
  const { scores, named } = await predict(model, image);
  return { scores: Array.from(scores), metadata: model.metadata, named };
}

/** Returns the CPU milliseconds of one inference, the mean of `inferences`. */
async function cpuMsOf(model, image, inferences) {
  const start = process.cpuUsage();
  for (let number = 0; number < inferences; number += 1) {
    await predict(model, image);
  }
  const used = process.cpuUsage(start);
  return (used.user + used.system) / 1000 / inferences;
}

/** Returns what each model predicts, or why it does not. */
async function runAll(folders, image) {
  const found = {};
  for (const [name, folder] of Object.entries(folders)) {
    const run = async () => described(await loadGraphModel(filesIn(folder)), image);
    found[name] = await run().catch((error) => ({ error: error.message }));
  }
  return found;
}

/** Returns what each model predicts and its CPU milliseconds, one mean per repetition. */
async function timeAll({ folders, repetitions, inferences }, image) {
  const models = [];
  for (const [name, folder] of Object.entries(folders)) {
    models.push({ name, model: await loadGraphModel(filesIn(folder)), cpuMs: [] });
  }
  for (const { model } of models) {
    await cpuMsOf(model, image, inferences);
  }
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    // First and second change places, so that neither always follows the other.
    for (const each of repetition % 2 ? [...models].reverse() : models) {
      each.cpuMs.push(await cpuMsOf(each.model, image, inferences));
    }
  }
  const found = {};
  for (const { name, model, cpuMs } of models) {
    found[name] = { ...(await described(model, image)), cpu_ms: cpuMs };
  }
  return found;
}

async function main() {
  const request = JSON.parse(fs.readFileSync(0, 'utf8'));
  if (!(await core.setBackend('wasm')) || core.getBackend() !== 'wasm') {
    throw new Error(`requested the backend wasm, but ${core.getBackend()} runs`);
  }
  const image = core.tensor(request.image, request.shape);
  const found = request.repetitions ? await timeAll(request, image) : await runAll(request.folders, image);
  process.stdout.write(JSON.stringify(found));
}

main();
