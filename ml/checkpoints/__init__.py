"""Foreign checkpoints on known backbones: tensors matched, loaded, checked, kept; never code."""

from ml.checkpoints.contracts import Fitted, Manifest
from ml.checkpoints.files import (
    CanonicalFile,
    apply_options,
    check_teacher,
    load_teacher,
    options_of,
    read_canonical,
    write_teacher,
)
from ml.checkpoints.fitting import fit

__all__ = [
    "CanonicalFile",
    "Fitted",
    "Manifest",
    "apply_options",
    "check_teacher",
    "fit",
    "load_teacher",
    "options_of",
    "read_canonical",
    "write_teacher",
]
