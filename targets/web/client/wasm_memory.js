// SPDX-License-Identifier: Apache-2.0
// How much memory WebAssembly holds. It never releases any, so its size at the end is its peak.

const held = new Set();

watch('instantiate');
watch('instantiateStreaming');

/** Returns the bytes of all WebAssembly memories made in this page since it was opened. */
export function wasmBytes() {
  return [...held].reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
}

function watch(name) {
  const original = WebAssembly[name];
  WebAssembly[name] = async (source, imports, ...rest) => {
    const made = await original.call(WebAssembly, source, imports, ...rest);
    keep((made.instance || made).exports);
    Object.values(imports || {}).forEach(keep);
    return made;
  };
}

function keep(names) {
  Object.values(names || {})
    .filter((value) => value instanceof WebAssembly.Memory)
    .forEach((memory) => held.add(memory));
}
