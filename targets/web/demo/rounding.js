// SPDX-License-Identifier: Apache-2.0
// Rounding as Python does it.

/** Returns the nearest integer, the even one of two equally near. */
export function roundHalfToEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
