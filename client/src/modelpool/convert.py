"""A .pt or .pth file as safetensors, by torch, where the extra `modelpool[torch]` is installed.

The file is the user's own; it is read with `weights_only=True` all the same. Where it cannot be
turned into safetensors without loss it goes as it is: the server reads it as data, without torch.
"""

import importlib.util
from pathlib import Path
from typing import Any

WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher")
"""Where the server looks for a state dict inside a training checkpoint, in this order."""


class NotConverted(Exception):
    """Why a file goes as it is."""


def can_convert() -> bool:
    """Whether torch and safetensors are here; does not import them."""
    return all(importlib.util.find_spec(name) for name in ("torch", "safetensors"))


def to_safetensors(path: Path, directory: Path) -> Path:
    """Write the state dict of a torch file as safetensors; the same file gives the same bytes.

    Args:
        path: what `torch.save` wrote.
        directory: where the new file goes.

    Raises:
        NotConverted: with the reason; send the file as it is.
    """
    if not can_convert():
        raise NotConverted('torch is not installed here (pip install "modelpool[torch]")')
    import torch
    from safetensors.torch import save_file

    try:
        top = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  # their own
    except Exception as error:
        raise NotConverted(
            f"torch could not read it as weights ({type(error).__name__})"
        ) from error
    tensors = _state_dict(top, torch.Tensor)
    storages = [tensor.untyped_storage().data_ptr() for tensor in tensors.values()]
    if len(set(storages)) != len(storages):
        raise NotConverted("some of its tensors share their numbers")
    converted = directory / f"{path.stem}.safetensors"
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, converted)
    except Exception as error:
        raise NotConverted(f"safetensors cannot hold it ({type(error).__name__})") from error
    return converted


def _state_dict(top: Any, tensor: type) -> dict[str, Any]:
    inside = [top[key] for key in WRAPPERS if key in top] if isinstance(top, dict) else []
    for each in (*inside, top):
        if isinstance(each, dict):
            tensors = {name: value for name, value in each.items() if isinstance(value, tensor)}
            if tensors:
                return tensors
    raise NotConverted("no state dict was found in it")
