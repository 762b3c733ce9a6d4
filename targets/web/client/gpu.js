// SPDX-License-Identifier: Apache-2.0
// What draws the pictures here, and whether it is hardware.
import { Unsupported } from './runner.js';

const SOFTWARE = /swiftshader|llvmpipe|softpipe|basic render|software/i;

/** Refuses a browser without a WebGPU adapter. */
export async function needWebGpu() {
  const adapter = navigator.gpu ? await navigator.gpu.requestAdapter() : null;
  if (!adapter) {
    throw new Unsupported(
      'this browser has no WebGPU adapter: it takes a GPU driver that it knows, or SwiftShader, which Debian\'s and ' +
        'Google\'s Chromium bring',
    );
  }
}

/** Returns how an environment tells a WebGPU device. */
export function webGpuTold(device) {
  const { vendor, architecture, description, isFallbackAdapter } = device.adapterInfo;
  const adapter = [vendor, architecture, description].filter(Boolean).join(' ');
  return { adapter, software_gpu: Boolean(isFallbackAdapter) || SOFTWARE.test(adapter) };
}

/** Returns how an environment tells a WebGL context. */
export function webGlTold(context) {
  const told = context.getExtension('WEBGL_debug_renderer_info');
  const renderer = context.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : context.RENDERER);
  return { renderer, software_gpu: SOFTWARE.test(renderer) };
}
