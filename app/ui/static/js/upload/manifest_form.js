/** What an uploader says about a checkpoint, as a form. */

import { BACKBONES } from "../backbones.js";
import { el, newId } from "../dom.js";

const NORMALIZATIONS = {
  "None: pixels from 0 to 1": { mean: [0, 0, 0], std: [1, 1, 1] },
  "To −1 … 1": { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
  ImageNet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
};

/**
 * @param {Record<string, any>} known  a manifest, or what of it is known
 * @param {string[]} pools  names
 * @returns {{element: HTMLElement, read: () => {manifest: Record<string, any>, faults: string[]}}}
 */
export function manifestForm(known, pools) {
  const input = (name, props = {}) => el("input", { name, value: known[name] ?? "", autocomplete: "off", ...props });
  const choice = (name, options, value) =>
    el("select", { name }, options.map((option) => el("option", { value: option, selected: String(option) === String(value) }, option === "" ? "choose …" : String(option))));
  const inputs = {
    name: input("name", { maxlength: 200, required: true }),
    pool: choice("pool", pools, known.pool ?? "default"),
    backbone: choice("backbone", ["", ...BACKBONES], known.backbone ?? ""),
    image_size: input("image_size", { type: "number", min: 16, max: 224, placeholder: "32" }),
    channels: el("select", { name: "channels" }, [[3, "3, colour"], [1, "1, grey"]].map(([value, shown]) => el("option", { value, selected: value === known.channels }, shown))),
    classes: el("textarea", { name: "classes", rows: 3, placeholder: "one a line, in the order of the outputs" }, (known.class_names ?? []).join("\n")),
    mean: input("mean", { value: (known.normalization?.mean ?? []).join(", "), placeholder: "0.5, 0.5, 0.5" }),
    std: input("std", { value: (known.normalization?.std ?? []).join(", "), placeholder: "0.5, 0.5, 0.5" }),
    domain: input("domain", { maxlength: 100, placeholder: "radiology" }),
    description: el("textarea", { name: "description", rows: 2, maxlength: 5000 }, known.description ?? ""),
    training_data_note: el("textarea", { name: "training_data_note", rows: 2, maxlength: 5000 }, known.training_data_note ?? ""),
    dp_epsilon: input("dp_epsilon", { type: "number", min: 0, step: "any" }),
  };
  const outputs = known.n_classes ?? known.class_names?.length;
  const element = el(
    "div",
    { class: "manifest" },
    field("Name", inputs.name),
    field("Pool", inputs.pool),
    field("Backbone", inputs.backbone),
    field("Image side, pixels", inputs.image_size),
    field("Channels", inputs.channels),
    field("Domain", inputs.domain, "Groups models of one kind of image; may be left out."),
    field("Class names", inputs.classes, outputs ? `The network has ${outputs} outputs. Without names they are numbered.` : "Without names they are numbered.", "wide"),
    normalization(inputs),
    el(
      "details",
      { class: "wide" },
      el("summary", {}, "Notes and differential privacy"),
      el(
        "div",
        { class: "manifest" },
        field("Description", inputs.description, "Seen by you and the pool’s curators and owners.", "wide"),
        field("About the training data", inputs.training_data_note, "", "wide"),
        field("ε of DP training, as you declare it", inputs.dp_epsilon),
      ),
    ),
  );
  return { element, read: () => read(inputs, known) };
}

function normalization(inputs) {
  const preset = el(
    "select",
    {
      onchange: () => {
        const chosen = NORMALIZATIONS[preset.value];
        const channels = Number(inputs.channels.value);
        if (!chosen) return;
        inputs.mean.value = chosen.mean.slice(0, channels).join(", ");
        inputs.std.value = chosen.std.slice(0, channels).join(", ");
      },
    },
    el("option", { value: "" }, "usual ones …"),
    Object.keys(NORMALIZATIONS).map((name) => el("option", { value: name }, name)),
  );
  return el(
    "fieldset",
    { class: "wide" },
    el("legend", { class: "label" }, "Normalisation in training"),
    el("div", { class: "manifest" }, field("Mean of each channel", inputs.mean), field("Deviation of each channel", inputs.std), field("Fill in", preset)),
  );
}

function field(text, input, hint = "", kind = "") {
  const id = newId("field");
  input.id = id;
  const says = hint ? el("p", { class: "hint", id: `${id}-hint` }, hint) : null;
  if (says) input.setAttribute("aria-describedby", says.id);
  return el("div", { class: `field ${kind}` }, el("label", { for: id }, text), input, says);
}

const numbers = (text) => text.split(/[\s,;]+/).filter(Boolean).map(Number);

function read(inputs, known) {
  const channels = Number(inputs.channels.value);
  const classes = inputs.classes.value.split("\n").map((name) => name.trim()).filter(Boolean);
  const manifest = {
    name: inputs.name.value.trim(),
    pool: inputs.pool.value,
    backbone: inputs.backbone.value,
    image_size: Number(inputs.image_size.value),
    channels,
    normalization: { mean: numbers(inputs.mean.value), std: numbers(inputs.std.value) },
    ...(classes.length ? { class_names: classes } : { n_classes: known.n_classes ?? known.class_names?.length }),
  };
  for (const name of ["domain", "description", "training_data_note"]) {
    if (inputs[name].value.trim()) manifest[name] = inputs[name].value.trim();
  }
  if (inputs.dp_epsilon.value) manifest.dp_epsilon = Number(inputs.dp_epsilon.value);
  if (known.sha256) manifest.sha256 = known.sha256;
  return { manifest, faults: faultsOf(manifest) };
}

function faultsOf(manifest) {
  const { mean, std } = manifest.normalization;
  const wrong = (values, least) => values.length !== manifest.channels || values.some((value) => !(value >= least));
  return [
    !manifest.name && "Give it a name.",
    !manifest.backbone && "Choose its backbone.",
    !(manifest.image_size >= 16 && manifest.image_size <= 224) && "Its images are 16 to 224 pixels a side.",
    !(manifest.class_names?.length >= 2 || manifest.n_classes >= 2) && "Name its classes, two at least.",
    (wrong(mean, -10) || wrong(std, Number.MIN_VALUE)) && `Mean and deviation are ${manifest.channels === 1 ? "one number each" : "three numbers each"}.`,
  ].filter(Boolean);
}
