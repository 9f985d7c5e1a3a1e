/** The beginning of a safetensors file: names and shapes of its tensors, without its numbers. */

import { recognised } from "../backbones.js";

const MOST_HEADER_BYTES = 8 * 1024 * 1024;

/**
 * What the file says of itself; nothing where it is of another kind.
 * @param {File} file
 */
export async function readHeader(file) {
  if (!file.name.endsWith(".safetensors")) return {};
  try {
    const length = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
    if (length > MOST_HEADER_BYTES) return {};
    const tensors = JSON.parse(await file.slice(8, 8 + length).text());
    const shapes = Object.entries(tensors)
      .filter(([name]) => name !== "__metadata__")
      .map(([, tensor]) => tensor.shape);
    return recognised(shapes);
  } catch {
    return {}; // the inspection says what is wrong with it
  }
}
