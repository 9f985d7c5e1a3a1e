"""Why a checkpoint is refused, and what its owner can do about it: one entry per code."""

from typing import NamedTuple

SHOWN_LENGTH = 80

SAVE_STATE_DICT = "Save the weights alone:\ntorch.save(model.state_dict(), 'checkpoint.pt')"
SAVE_SAFETENSORS = (
    "from safetensors.torch import save_file\n"
    "save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()},"
    " 'checkpoint.safetensors')"
)
SAVE_CLONES = (
    "Give every tensor its own memory before saving:\n"
    "torch.save({k: v.detach().clone().contiguous() for k, v in model.state_dict().items()},"
    " 'checkpoint.pt')"
)
SAVE_DENSE = "Convert to ordinary dense float tensors first (to_dense, dequantize), then:\n" + (
    "torch.save(model.state_dict(), 'checkpoint.pt')"
)
SAVE_AGAIN = "The file is damaged or was packed by hand. Copy it again, or write it anew:\n" + (
    "torch.save(model.state_dict(), 'checkpoint.pt')"
)
LOAD_AND_SAVE = (
    "Where you trust the file, load it with torch and save the state dict anew:\n"
    "torch.save(model.state_dict(), 'checkpoint.pt')"
)
TRAIN_AGAIN = "Upload a checkpoint from before the training diverged, or train again."
SMALLER = "Upload the inference weights of one model only, without optimiser or other models."


class Entry(NamedTuple):
    """What the uploader reads; reason may name `{facts}`."""

    reason: str
    recipe: str


CATALOGUE: dict[str, Entry] = {
    "not-a-file": Entry("The upload is not a regular file.", SAVE_STATE_DICT),
    "empty-file": Entry("The file is empty.", "Upload it again; check its size on your side."),
    "file-too-large": Entry("The file has {size} bytes, more than {limit}.", SMALLER),
    "output-too-large": Entry("Its tensors take {size} bytes, more than {limit}.", SMALLER),
    "truncated-file": Entry("The file ends before its contents do.", SAVE_AGAIN),
    "unrecognised-format": Entry(
        "The file is neither safetensors nor a zip-format torch checkpoint.", SAVE_SAFETENSORS
    ),
    "compressed-file": Entry("The file is compressed ({format}).", "Unpack it and upload that."),
    "legacy-torch": Entry(
        "The file is in torch's format from before version 1.6 (not a zip).", LOAD_AND_SAVE
    ),
    "tar-archive": Entry(
        "The file is a tar archive, which torch 0.1 wrote and others pack into.", LOAD_AND_SAVE
    ),
    "raw-pickle": Entry(
        "The file is a bare Python pickle, which is a program rather than data.", SAVE_STATE_DICT
    ),
    "torchscript": Entry("The file is a TorchScript archive and holds code.", SAVE_STATE_DICT),
    "exported-program": Entry(
        "The file is an exported program (.pt2) and holds a graph.", SAVE_STATE_DICT
    ),
    "not-a-torch-zip": Entry("The zip archive holds no torch checkpoint.", SAVE_STATE_DICT),
    "zip-malformed": Entry("The zip archive contradicts itself ({detail}).", SAVE_AGAIN),
    "zip-compressed": Entry(
        "The archive's entry {entry} is compressed; torch stores entries as they are.", SAVE_AGAIN
    ),
    "zip-encrypted": Entry("The archive's entry {entry} is encrypted.", SAVE_AGAIN),
    "zip-duplicate-name": Entry("The archive holds {entry} twice.", SAVE_AGAIN),
    "zip-unsafe-path": Entry("The archive's entry {entry} has an unsafe path.", SAVE_AGAIN),
    "zip-overlap": Entry("Entries of the archive share bytes ({entry}).", SAVE_AGAIN),
    "zip-too-many-entries": Entry("The archive has more than {limit} entries.", SMALLER),
    "zip-checksum": Entry("The archive's entry {entry} fails its checksum.", SAVE_AGAIN),
    "big-endian": Entry(
        "The file was written on a big-endian machine.", "Save it from a little-endian machine."
    ),
    "full-module-pickle": Entry(
        "The file holds a whole module ({name}), which only its code can load.", SAVE_STATE_DICT
    ),
    "unknown-global": Entry(
        "The file refers to {name}, which is no part of a state dict.", SAVE_STATE_DICT
    ),
    "pickle-malformed": Entry("The file's pickle is not one torch writes ({detail}).", SAVE_AGAIN),
    "pickle-too-large": Entry("The file's pickle has too many {what} (over {limit}).", SMALLER),
    "sparse-tensor": Entry("The file holds sparse tensors.", SAVE_DENSE),
    "quantized-tensor": Entry("The file holds quantised tensors.", SAVE_DENSE),
    "nested-tensor": Entry("The file holds nested tensors.", SAVE_DENSE),
    "meta-tensor": Entry(
        "The file holds tensors without data (device meta).",
        "Load real weights into the model, then:\ntorch.save(model.state_dict(), 'checkpoint.pt')",
    ),
    "tensor-subclass": Entry(
        "The file holds tensors of a class of their own ({name}).", SAVE_CLONES
    ),
    "lazy-view": Entry("The tensor {name} is a lazily negated or conjugated view.", SAVE_CLONES),
    "complex-tensor": Entry("The file holds complex numbers ({name}).", SAVE_DENSE),
    "unsupported-dtype": Entry(
        "The file holds tensors of type {name}.",
        "Convert the weights to float32, float16 or bfloat16:\n"
        "torch.save(model.float().state_dict(), 'checkpoint.pt')",
    ),
    "no-state-dict": Entry("The file holds no dictionary of named tensors.", SAVE_STATE_DICT),
    "empty-state-dict": Entry("The file's dictionary holds no tensor.", SAVE_STATE_DICT),
    "too-many-tensors": Entry("The file holds more than {limit} tensors.", SMALLER),
    "bad-name": Entry(
        "The tensor name {name} is empty, too long or not printable.", SAVE_STATE_DICT
    ),
    "duplicate-name": Entry(
        "Two tensors are called {name} once wrappers' prefixes are removed.", SAVE_STATE_DICT
    ),
    "too-many-dims": Entry("The tensor {name} has more than {limit} dimensions.", SAVE_STATE_DICT),
    "bad-shape": Entry("The tensor {name} has an impossible shape.", SAVE_STATE_DICT),
    "expanded-tensor": Entry("The tensor {name} repeats its own memory.", SAVE_CLONES),
    "overlapping-tensors": Entry("The tensors {name} and {other} share memory.", SAVE_CLONES),
    "aliased-storage": Entry(
        "The memory of {name} serves more than {limit} times over.", SAVE_CLONES
    ),
    "strided-tensor-too-large": Entry(
        "The tensor {name} is large and not in row-major order.", SAVE_CLONES
    ),
    "storage-out-of-bounds": Entry(
        "The storage {name} is missing from the file or shorter than declared.", SAVE_AGAIN
    ),
    "tensor-out-of-bounds": Entry("The tensor {name} reaches beyond its storage.", SAVE_AGAIN),
    "safetensors-header-length": Entry(
        "The safetensors header is longer than the file.", SAVE_SAFETENSORS
    ),
    "safetensors-header-too-large": Entry(
        "The safetensors header has more than {limit} bytes.", SMALLER
    ),
    "safetensors-header-invalid": Entry(
        "The safetensors header is invalid ({detail}).", SAVE_SAFETENSORS
    ),
    "safetensors-duplicate-key": Entry(
        "The safetensors header holds {name} twice.", SAVE_SAFETENSORS
    ),
    "safetensors-size-mismatch": Entry(
        "The bytes of {name} do not match its shape and type.", SAVE_SAFETENSORS
    ),
    "safetensors-offsets": Entry(
        "The safetensors data overlap, leave a hole or miss the file's end (at {name}).",
        SAVE_SAFETENSORS,
    ),
    "non-finite-weights": Entry("The tensor {name} holds NaN or infinity.", TRAIN_AGAIN),
    "negative-variance": Entry("The running variance {name} is negative.", TRAIN_AGAIN),
    "bad-boolean": Entry("The tensor {name} holds other values than true and false.", SAVE_AGAIN),
    "airlock-limit": Entry(
        "Inspecting the file took more memory or time than is allowed ({detail}).",
        "Save only the state dict, as safetensors:\n" + SAVE_SAFETENSORS,
    ),
    "airlock-fault": Entry(
        "The inspection broke off, not necessarily through the file's fault ({detail}).",
        "Upload it again. If it recurs, convert it yourself:\n" + SAVE_SAFETENSORS,
    ),
}


class Refused(Exception):
    """The checkpoint is not accepted.

    Attributes:
        code: Stable kebab-case name of the cause, a key of `CATALOGUE`.
        reason: One sentence for the uploader.
        recipe: What the uploader can do, one to three lines.
    """

    def __init__(self, *, code: str, reason: str, recipe: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.recipe = recipe


def refused(code: str, **facts: object) -> Refused:
    """Build the refusal of this code; facts from the file are made safe to show."""
    entry = CATALOGUE[code]
    shown = {key: shown_safely(value) for key, value in facts.items()}
    return Refused(code=code, reason=entry.reason.format(**shown), recipe=entry.recipe)


def shown_safely(value: object) -> str:
    """Reduce what a stranger wrote to at most 80 printable ASCII characters."""
    if not isinstance(value, str | int):
        return type(value).__name__
    text = str(value)
    clean = "".join(c if " " <= c <= "~" else "?" for c in text[:SHOWN_LENGTH])
    return clean if len(text) <= SHOWN_LENGTH else clean[: SHOWN_LENGTH - 3] + "..."
