// SPDX-License-Identifier: Apache-2.0
// Runs the job a file describes in Node: node node_main.js job.json. Says what went wrong in its last line, with status 1.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const core = require('@tensorflow/tfjs-core');
const converter = require('@tensorflow/tfjs-converter');
const wasm = require('@tensorflow/tfjs-backend-wasm');
const { runJob } = require('./runner.js');

async function main(jobFile) {
  const job = JSON.parse(fs.readFileSync(jobFile, 'utf8'));
  const read = async (name) => bytesOf(path.join(job.folder, name));
  const images = new Float32Array(bytesOf(job.images));
  const { scores, report } = await runJob({ core, converter, wasm }, job, read, images);
  const here = { runtime: 'tfjs in node', node: process.version, machine: process.arch };
  fs.writeFileSync(job.scores, scores);
  fs.writeFileSync(job.result, JSON.stringify({ ...report, environment: { ...here, ...report.environment } }));
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
