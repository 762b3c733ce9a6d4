// SPDX-License-Identifier: Apache-2.0
// What programs for Node share: the job of a file, files as typed arrays take them, and how a program ends.
import fs from 'node:fs';

/** Runs `main(job)` with the job in the file that the command names. On an error, the last line is the message and the status 1. */
export function runProgram(main) {
  const run = async () => main(JSON.parse(fs.readFileSync(process.argv[2], 'utf8')));
  run().then(
    () => process.exit(0),
    (error) => {
      console.error(error.stack);
      console.error(`${error.name || 'Error'}: ${String(error.message).split('\n')[0]}`);
      process.exit(1);
    },
  );
}

/** Returns a file's bytes as an ArrayBuffer of their own; Node's small buffers share one. */
export function bytesOf(file) {
  const buffer = fs.readFileSync(file);
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
}
