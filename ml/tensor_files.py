"""Write safetensors files; a disk that fails is told as what it is."""

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """`save_file`, but a full disk is an OSError with its number, not a SafetensorError.

    Raises:
        OSError: the file could not be written; it may be there in part.
    """
    try:
        save_file(dict(tensors), path, metadata=dict(metadata))
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), "the file cannot be written", path.name) from error
