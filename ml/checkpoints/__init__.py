"""Foreign checkpoints on known backbones: tensors matched, loaded, checked, kept; never code."""

from ml.checkpoints.contracts import Fitted, Manifest
from ml.checkpoints.files import (
    CanonicalFile,
    check_teacher,
    load_teacher,
    read_canonical,
    write_teacher,
)
from ml.checkpoints.fitting import fit

__all__ = [
    "CanonicalFile",
    "Fitted",
    "Manifest",
    "check_teacher",
    "fit",
    "load_teacher",
    "read_canonical",
    "write_teacher",
]
