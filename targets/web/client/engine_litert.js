// SPDX-License-Identifier: Apache-2.0
// TF Lite files by LiteRT.js, on its wasm (XNNPACK) or webgpu accelerator.
import { needWebGpu, webGpuFacts } from './gpu.js';
import { Unsupported } from './runner.js';

const WASM = new URL('../node_modules/@litertjs/core/wasm/', import.meta.url).href;

/** Returns an engine for runJob. */
export function litertEngine() {
  return async (job) => {
    if (job.backend === 'webgpu') {
      await needWebGpu();
    }
    const litert = await import('@litertjs/core');
    // With JSPI, a file that the accelerator takes only in part loads and reports it; without, loading fails with an internal error.
    const jspi = job.backend === 'webgpu' && (await litert.supportsFeature('jspi'));
    const { liteRtWasm } = await litert.loadLiteRt(WASM, { threads: job.threads > 1, jspi });
    return async (read) => {
      const model = await litert.loadAndCompile(new Uint8Array(await read(job.model)), {
        accelerator: job.backend,
        cpuOptions: { numThreads: job.threads },
        gpuOptions: { precision: 'fp32' },
      });
      if (job.backend !== 'wasm' && !model.isFullyAccelerated) {
        throw new Unsupported(`LiteRT.js cannot run all operations of this file on its ${job.backend} accelerator`);
      }
      return {
        gpu: job.backend === 'webgpu' ? webGpuFacts(litert.getWebGpuDevice()) : {},
        labels: null,
        ready: (values, count = 1) => prepare(litert, model, values, [count, ...job.shape.slice(1)]),
        facts: async () => ({
          runtime: 'litert.js',
          version: job.version,
          backend: model.options.accelerator,
          threads: liteRtWasm.getThreadCount(),
          relaxed_simd: await litert.supportsFeature('relaxedSimd'),
        }),
      };
    };
  };
}

function prepare(litert, model, values, shape) {
  const image = new litert.Tensor(values, shape);
  const predict = async () => {
    const [output] = await model.run(image);
    const row = (await output.data()).slice();
    output.delete();
    return row;
  };
  return { predict, release: () => image.delete() };
}
