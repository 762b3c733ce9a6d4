// SPDX-License-Identifier: Apache-2.0
// ONNX files by ONNX Runtime Web, on its wasm or webgpu execution provider.
import { needWebGpu, webGpuFacts } from './gpu.js';
import { Unsupported } from './runner.js';

const PLACE = new URL('../node_modules/onnxruntime-web/dist/', import.meta.url);
const SCRIPTS = { wasm: 'ort.wasm.min.mjs', webgpu: 'ort.webgpu.min.mjs' };
// What ONNX Runtime Web says, as text only, of files that a GPU or its provider cannot run.
const REFUSALS = [
  [/fallback to CPU EP has been explicitly disabled/, 'its WebGPU provider lacks some of the operations of this file; its wasm provider has them'],
  [/requires f16 but the device does not support it/, 'this GPU, or its driver, computes no float16 in WebGPU shaders'],
];

/** Returns an engine for runJob. */
export function ortEngine() {
  return async (job) => {
    if (job.backend === 'webgpu') {
      await needWebGpu();
    }
    const ort = await import(new URL(SCRIPTS[job.backend], PLACE).href);
    ort.env.wasm.wasmPaths = PLACE.href;
    ort.env.wasm.numThreads = job.threads;
    ort.env.logLevel = 'error';
    return async (read) => {
      const session = await refusing(ort.InferenceSession.create(new Uint8Array(await read(job.model)), {
        executionProviders: [job.backend],
        // Without it, operations that the provider does not support run silently on the CPU.
        extra: job.backend === 'wasm' ? {} : { session: { disable_cpu_ep_fallback: '1' } },
      }));
      return {
        gpu: job.backend === 'webgpu' ? webGpuFacts(await ort.env.webgpu.device) : {},
        labels: null,
        ready: (values, count = 1) => prepare(ort, session, values, [count, ...job.shape.slice(1)]),
        facts: async () => ({
          runtime: 'onnxruntime-web',
          version: ort.env.versions.web,
          backend: job.backend,
          threads: ort.env.wasm.numThreads,
        }),
      };
    };
  };
}

/** Returns what a promise does; an error that says nothing about the file becomes Unsupported. */
async function refusing(promise) {
  try {
    return await promise;
  } catch (error) {
    const found = REFUSALS.find(([said]) => said.test(error.message ?? error));
    throw found ? new Unsupported(`ONNX Runtime Web: ${found[1]}`) : error;
  }
}

function prepare(ort, session, values, shape) {
  const image = new ort.Tensor('float32', values, shape);
  const predict = async () => {
    const output = (await refusing(session.run({ [session.inputNames[0]]: image })))[session.outputNames[0]];
    const row = await output.getData();
    output.dispose();
    return row;
  };
  return { predict, release: () => image.dispose() };
}
