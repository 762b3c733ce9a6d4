// SPDX-License-Identifier: Apache-2.0
// Writes what every node of a graph model computes for the images of a job: node node_tensors.js job.json.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { artifactFiles, startBackend } from './engine_tfjs.js';
import { bytesOf, runProgram } from './node_job.js';

const require = createRequire(import.meta.url);

async function main(job) {
  const core = require('@tensorflow/tfjs-core');
  const converter = require('@tensorflow/tfjs-converter');
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  await startBackend(core, wasm, job);
  const read = async (name) => bytesOf(path.join(job.folder, name));
  const model = await converter.loadGraphModel(artifactFiles(core, job.model, read));
  const images = new Float32Array(bytesOf(job.images));
  const shape = [1, ...job.shape.slice(1)];
  const size = shape.reduce((product, each) => product * each, 1);
  const file = fs.openSync(job.scores, 'w');
  let tensors = [];
  for (let at = 0; at < images.length; at += size) {
    const image = core.tensor(images.slice(at, at + size), shape);
    const found = model.execute({ [job.input]: image }, job.nodes);
    tensors = found.map((each, number) => ({ name: job.nodes[number], shape: each.shape }));
    for (const each of found) {
      fs.writeSync(file, new Uint8Array(Float32Array.from(await each.data()).buffer));
    }
    core.dispose([image, found]);
  }
  fs.closeSync(file);
  fs.writeFileSync(job.result, JSON.stringify(tensors));
}

runProgram(main);
