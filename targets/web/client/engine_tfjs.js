// SPDX-License-Identifier: Apache-2.0
// Graph models by TensorFlow.js, on its wasm, webgl, webgpu or cpu backend.
import { needWebGpu, webGlFacts, webGpuFacts } from './gpu.js';
import { Unsupported } from './runner.js';

/** Returns an engine for runJob; `libraries` holds tfjs-core, -converter and, where it is the backend, -backend-wasm. */
export function tfjsEngine({ core, converter, wasm }) {
  return async (job) => {
    await startBackend(core, wasm, job);
    return async (read) => {
      const model = await converter.loadGraphModel(artifactFiles(core, job.model, read));
      const loaded = core.memory().numTensors;
      return {
        gpu: gpuFacts(core),
        labels: (model.metadata && model.metadata.labels) || null,
        ready: (values, count = 1) => prepare(core, model, core.tensor(values, [count, ...job.shape.slice(1)])),
        facts: async () => ({
          runtime: 'tfjs',
          version: core.version_core,
          backend: core.getBackend(),
          leaked_tensors: core.memory().numTensors - loaded,
          peak_bytes: await peakBytes(core, model, [1, ...job.shape.slice(1)]),
          ...(await cpuFacts(core, wasm)),
        }),
      };
    };
  };
}

// What each backend needs.
const NEEDS = {
  wasm: 'a browser with WebAssembly',
  webgl: 'OpenGL: a GPU driver, or the software renderer that Chromium brings',
  webgpu: 'a GPU driver that the browser knows, or the software adapter that Chromium brings',
  cpu: 'nothing, so this is a defect of TensorFlow.js',
};

export async function startBackend(core, wasm, job) {
  if (job.backend === 'webgpu') {
    await needWebGpu();
  }
  if (job.backend === 'wasm') {
    wasm.setThreadsCount(job.threads);
  }
  const taken = await core.setBackend(job.backend);
  await core.ready();
  // TensorFlow.js silently falls back to another backend.
  if (!taken || core.getBackend() !== job.backend) {
    throw new Unsupported(
      `TensorFlow.js did not start its ${job.backend} backend here and uses ${core.getBackend()} instead; ` +
        `it needs ${NEEDS[job.backend]}`,
    );
  }
}

/** Returns an IOHandler that reads the model's JSON and weight files through `read`, from a disk or a server. */
export function artifactFiles(core, file, read) {
  return {
    load: async () => {
      const json = JSON.parse(new TextDecoder().decode(await read(file)));
      return core.io.getModelArtifactsForJSON(json, async (groups) => {
        const paths = groups.flatMap((group) => group.paths);
        return [groups.flatMap((group) => group.weights), await Promise.all(paths.map(read))];
      });
    },
  };
}

function prepare(core, model, image) {
  // The call alone only queues the work: the output is there when its data is.
  const predict = async () => {
    const result = model.predict(image);
    // A model with structured output names answers {name: tensor}.
    const output = result instanceof core.Tensor ? result : Object.values(result)[0];
    const row = await output.data();
    core.dispose(result);
    return row;
  };
  return { predict, release: () => image.dispose() };
}

/** Returns the most bytes that one inference holds in tensors, weights included. */
async function peakBytes(core, model, shape) {
  const image = core.zeros(shape);
  const profile = await core.profile(() => core.tidy(() => model.predict(image)));
  core.dispose([image, profile.result]);
  return profile.peakBytes;
}

function gpuFacts(core) {
  const backend = core.backend();
  switch (core.getBackend()) {
    case 'webgl':
      return { ...webGlFacts(backend.gpgpu.gl), webgl_version: core.env().get('WEBGL_VERSION') };
    case 'webgpu':
      return webGpuFacts(backend.device);
    default:
      return {};
  }
}

async function cpuFacts(core, wasm) {
  if (core.getBackend() !== 'wasm') {
    return { threads: 1 };
  }
  return {
    threads: wasm.getThreadsCount(),
    simd: await core.env().getAsync('WASM_HAS_SIMD_SUPPORT'),
    multithreaded_build: await core.env().getAsync('WASM_HAS_MULTITHREAD_SUPPORT'),
  };
}
