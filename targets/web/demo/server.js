// SPDX-License-Identifier: Apache-2.0
// Files from the server of this page.

/** Returns a file's bytes, or `length` of them from `first` on. */
export async function bytesOf(address, first = 0, length = null) {
  const headers = length === null ? {} : { Range: `bytes=${first}-${first + length - 1}` };
  const response = await fetch(address, { headers }).catch(() => {
    throw new Error('the server of this page has ended; start it again and open its new address');
  });
  if (response.status !== (length === null ? 200 : 206)) {
    throw new Error(`${address}: HTTP ${response.status}`);
  }
  return response.arrayBuffer();
}

/** Returns the content of a JSON file. */
export async function json(address) {
  return JSON.parse(new TextDecoder().decode(await bytesOf(address)));
}
