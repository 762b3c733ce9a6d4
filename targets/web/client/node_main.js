// SPDX-License-Identifier: Apache-2.0
// Runs the job of a file in Node: node node_main.js job.json.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { tfjsEngine } from './engine_tfjs.js';
import { bytesOf, runProgram } from './node_job.js';
import { runJob } from './runner.js';

const require = createRequire(import.meta.url);

async function main(job) {
  const read = async (name) => bytesOf(path.join(job.folder, name));
  const images = new Float32Array(bytesOf(job.images));
  const { scores, report } = await runJob(tfjsEngine(libraries(job)), job, read, images, { ask, release });
  if (scores) {
    fs.writeFileSync(job.scores, scores);
  }
  const here = { node: process.version, machine: process.arch };
  fs.writeFileSync(job.result, JSON.stringify({ ...report, environment: { ...here, ...report.environment } }));
}

function libraries(job) {
  return {
    core: require('@tensorflow/tfjs-core'),
    converter: require('@tensorflow/tfjs-converter'),
    [job.backend]: require(`@tensorflow/tfjs-backend-${job.backend}`),
  };
}

/** Asks for a quiet machine as targets/quiet.py says. */
async function ask() {
  fs.writeFileSync('quiet.wanted', '');
  while (!fs.existsSync('quiet.granted')) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function release() {
  fs.rmSync('quiet.wanted', { force: true });
}

runProgram(main);
