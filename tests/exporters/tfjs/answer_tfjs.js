// SPDX-License-Identifier: Apache-2.0
// Answers one image with several TensorFlow.js graph models, on the wasm backend; run in a folder that holds node_modules.
// Takes {shape, image, folders: {name: folder}} on stdin, writes {name: {scores, metadata, named} or {error}} to stdout.
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
  const told = JSON.parse(fs.readFileSync(path.join(folder, 'model.json'), 'utf8'));
  const weightsOf = async (groups) => [
    groups.flatMap((group) => group.weights),
    groups.flatMap((group) => group.paths).map((name) => bytesOf(path.join(folder, name))),
  ];
  return { load: () => core.io.getModelArtifactsForJSON(told, weightsOf) };
}

async function answer(folder, image) {
  const model = await loadGraphModel(filesIn(folder));
  const answered = model.predict(image);
  const named = !(answered instanceof core.Tensor);
  const output = named ? Object.values(answered)[0] : answered;
  return { scores: Array.from(await output.data()), metadata: model.metadata, named: named ? Object.keys(answered) : null };
}

async function main() {
  const asked = JSON.parse(fs.readFileSync(0, 'utf8'));
  await core.setBackend('wasm');
  const image = core.tensor(asked.image, asked.shape);
  const found = {};
  for (const [name, folder] of Object.entries(asked.folders)) {
    found[name] = await answer(folder, image).catch((error) => ({ error: error.message }));
  }
  process.stdout.write(JSON.stringify(found));
}

main();
