// SPDX-License-Identifier: Apache-2.0
// ONNX files by ONNX Runtime Web, on its wasm or webgpu execution provider.
import { needWebGpu, webGpuFacts } from './gpu.js';

const PLACE = new URL('../node_modules/onnxruntime-web/dist/', import.meta.url);
const SCRIPTS = { wasm: 'ort.wasm.min.mjs', webgpu: 'ort.webgpu.min.mjs' };

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
      const session = await ort.InferenceSession.create(new Uint8Array(await read(job.model)), {
        executionProviders: [job.backend],
        // Without it, operations that the provider does not support run silently on the CPU.
        extra: job.backend === 'wasm' ? {} : { session: { disable_cpu_ep_fallback: '1' } },
      });
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

function prepare(ort, session, values, shape) {
  const image = new ort.Tensor('float32', values, shape);
  const predict = async () => {
    const output = (await session.run({ [session.inputNames[0]]: image }))[session.outputNames[0]];
    const row = await output.getData();
    output.dispose();
    return row;
  };
  return { predict, release: () => image.dispose() };
}
