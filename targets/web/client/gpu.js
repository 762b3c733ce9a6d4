// SPDX-License-Identifier: Apache-2.0
// The GPU here, and whether it is a software renderer.
import { Unsupported } from './runner.js';

const SOFTWARE = /swiftshader|llvmpipe|softpipe|basic render|software/i;

/** Refuses a browser without a WebGPU adapter. */
export async function needWebGpu() {
  const adapter = navigator.gpu ? await navigator.gpu.requestAdapter() : null;
  if (!adapter) {
    throw new Unsupported(
      'this browser has no WebGPU adapter: it needs a GPU driver that it supports, or SwiftShader, which Debian\'s and ' +
        'Google\'s Chromium include',
    );
  }
}

/** Returns a WebGPU device for a run's environment. */
export function webGpuFacts(device) {
  const { vendor, architecture, description, isFallbackAdapter } = device.adapterInfo;
  const adapter = [vendor, architecture, description].filter(Boolean).join(' ');
  return { adapter, software_gpu: Boolean(isFallbackAdapter) || SOFTWARE.test(adapter) };
}

/** Returns a WebGL context's renderer for a run's environment. */
export function webGlFacts(context) {
  const info = context.getExtension('WEBGL_debug_renderer_info');
  const renderer = context.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : context.RENDERER);
  return { renderer, software_gpu: SOFTWARE.test(renderer) };
}
