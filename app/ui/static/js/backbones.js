/** The backbones this server knows (a test compares them with the code), and how to tell one by its tensors. */

export const BACKBONES = [
  "conv4",
  "conv4_64",
  "resnet10",
  "resnet12",
  "resnet18",
  "torchvision_resnet18",
  "torchvision_resnet34",
  "torchvision_resnet50",
  "mobilenet_v3_small",
];

const BY_CONVOLUTIONS = {
  12: "resnet10",
  16: "resnet12",
  36: "torchvision_resnet34",
  52: "mobilenet_v3_small",
  53: "torchvision_resnet50",
};
const SIDE_OF_CONV4 = { 2: 32, 4: 64, 5: 84, 8: 128, 14: 224 }; // of its last feature map -> of the image

/**
 * What the tensors' shapes give away; what they do not is left out.
 * @param {number[][]} shapes
 * @returns {{backbone?: string, n_classes?: number, channels?: 1 | 3, image_size?: number}}
 */
export function recognised(shapes) {
  const convolutions = shapes.filter((shape) => shape.length === 4);
  const matrices = shapes.filter((shape) => shape.length === 2).sort(([a], [b]) => a - b);
  if (!convolutions.length || !matrices.length) return {};
  const colour = convolutions.find(([, inputs]) => inputs === 3);
  const stem = colour ?? convolutions.find(([, inputs]) => inputs === 1);
  if (!stem) return {};
  const backbone = backboneOf(convolutions.length, stem);
  const [n_classes, features] = matrices[0];
  const found = { backbone, n_classes, channels: /** @type {1 | 3} */ (colour ? 3 : 1) };
  if (!backbone?.startsWith("conv4")) return found;
  return { ...found, image_size: SIDE_OF_CONV4[Math.sqrt(features / stem[0])] };
}

function backboneOf(convolutions, [outputs, , side]) {
  if (convolutions === 4) return { 32: "conv4", 64: "conv4_64" }[outputs];
  if (convolutions === 20) return side === 7 ? "torchvision_resnet18" : "resnet18";
  return BY_CONVOLUTIONS[convolutions];
}
