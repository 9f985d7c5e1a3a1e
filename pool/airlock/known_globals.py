"""The globals a torch checkpoint may name, and what each of the others gives away.

A name on these lists is never looked up: it only selects which inert record is made.
"""

import enum
from typing import NamedTuple

from pool.airlock.refusals import Refused, refused
from pool.airlock.tensors import DTYPES, Dtype


class GlobalName(NamedTuple):
    """A global as a pickle names it."""

    module: str
    name: str


class Maker(enum.Enum):
    """Which record a call of a global stands for."""

    DICT = "a mapping"
    TENSOR = "a tensor"
    SAME = "its first argument"
    IGNORED = "nothing a state dict needs"
    NOTHING = "no call at all"


_IGNORED = (
    ("torch", "Size"),
    ("torch", "device"),
    ("builtins", "set"),
    ("__builtin__", "set"),
    ("builtins", "frozenset"),
    ("__builtin__", "frozenset"),
    # Beside the weights, training scripts keep a best accuracy, byte strings and their arguments.
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
    ("argparse", "Namespace"),
)
_DTYPE_NAMES = [
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
]

GLOBALS: dict[GlobalName, Maker] = {
    GlobalName("collections", "OrderedDict"): Maker.DICT,
    GlobalName("torch._utils", "_rebuild_tensor_v2"): Maker.TENSOR,
    GlobalName("torch._utils", "_rebuild_parameter"): Maker.SAME,
    GlobalName("torch._utils", "_rebuild_parameter_with_state"): Maker.SAME,
    **{GlobalName(*pair): Maker.IGNORED for pair in _IGNORED},
    **{GlobalName("torch", name): Maker.NOTHING for name in _DTYPE_NAMES},
}

STORAGE_DTYPES: dict[GlobalName, Dtype] = {
    GlobalName("torch", f"{kind}Storage"): DTYPES[name]
    for kind, name in {
        "Double": "F64",
        "Float": "F32",
        "Half": "F16",
        "BFloat16": "BF16",
        "Long": "I64",
        "Int": "I32",
        "Short": "I16",
        "Char": "I8",
        "Byte": "U8",
        "Bool": "BOOL",
    }.items()
}

_TELLING = {
    "_rebuild_sparse_tensor": "sparse-tensor",
    "_rebuild_sparse_csr_tensor": "sparse-tensor",
    "_get_layout": "sparse-tensor",
    "_rebuild_qtensor": "quantized-tensor",
    "QInt8Storage": "quantized-tensor",
    "QInt32Storage": "quantized-tensor",
    "QUInt8Storage": "quantized-tensor",
    "QUInt4x2Storage": "quantized-tensor",
    "QUInt2x4Storage": "quantized-tensor",
    "_rebuild_meta_tensor_no_storage": "meta-tensor",
    "_rebuild_nested_tensor": "nested-tensor",
    "ComplexFloatStorage": "complex-tensor",
    "ComplexDoubleStorage": "complex-tensor",
    "_rebuild_from_type_v2": "tensor-subclass",
    "_rebuild_wrapper_subclass": "tensor-subclass",
    "_rebuild_tensor_v3": "unsupported-dtype",
    "UntypedStorage": "unsupported-dtype",
}
_TORCH_MODULES = frozenset({"torch", "torch._utils", "torch._tensor", "torch.storage"}) | {
    "torch.serialization"
}
_MODULE_PACKAGES = ("torch.nn.", "torch.fx.", "torch.jit.", "torchvision.", "timm.")


def refusal_of_global(name: GlobalName, pickle: bytes) -> Refused:
    """Say why a pickle that names this global is refused.

    A whole module of the uploader's own class is told by the attributes that every nn.Module
    pickles.
    """
    shown = f"{name.module}.{name.name}"
    if b"_rebuild_njt" in pickle:  # jagged, a tensor subclass
        return refused("nested-tensor")
    if name.module in _TORCH_MODULES and name.name in _TELLING:
        return refused(_TELLING[name.name], name=_unusual_dtype(pickle) or shown)
    is_module = b"_parameters" in pickle and b"_modules" in pickle
    if name.module.startswith(_MODULE_PACKAGES) or is_module:
        return refused("full-module-pickle", name=shown)
    return refused("unknown-global", name=shown)


def _unusual_dtype(pickle: bytes) -> str | None:
    for prefix in (b"ctorch\nfloat8_", b"ctorch\nfloat4_", b"ctorch\nuint", b"ctorch\ncomplex"):
        start = pickle.find(prefix)
        if start >= 0:
            return pickle[start : start + 48].split(b"\n")[1].decode("ascii", "replace")
    return None
