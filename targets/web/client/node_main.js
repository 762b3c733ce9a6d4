// SPDX-License-Identifier: Apache-2.0
// Runs the job of a file in Node: node node_main.js job.json. On an error, its last line is the message and its status 1.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { tfjsEngine } from './engine_tfjs.js';
import { runJob } from './runner.js';

const require = createRequire(import.meta.url);

async function main(jobFile) {
  const job = JSON.parse(fs.readFileSync(jobFile, 'utf8'));
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

/** Returns a file's bytes as an ArrayBuffer of their own; Node's small buffers share one. */
function bytesOf(file) {
  const buffer = fs.readFileSync(file);
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
}

main(process.argv[2]).then(
  () => process.exit(0),
  (error) => {
    console.error(error.stack);
    console.error(`${error.name || 'Error'}: ${String(error.message).split('\n')[0]}`);
    process.exit(1);
  },
);
