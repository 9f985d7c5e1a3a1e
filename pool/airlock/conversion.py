"""Checkpoint bytes of any accepted format -> canonical safetensors, in this process."""

from dataclasses import dataclass, replace
from pathlib import Path

from pool.airlock.limits import Limits
from pool.airlock.names import clean_names, listed
from pool.airlock.refusals import refused
from pool.airlock.safetensors_reader import read_safetensors
from pool.airlock.sniff import SAFETENSORS, sniff
from pool.airlock.source import Source, open_source
from pool.airlock.tensors import StoredTensor
from pool.airlock.torch_zip import read_torch_zip
from pool.airlock.writer import Origin, write_canonical

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a conversion found and kept.

    Attributes:
        source_format: `safetensors` or `torch-zip`.
        order_is_known: Whether the tensors are in the state dict's order; safetensors writers
            sort, so theirs is not.
        n_tensors: Tensors kept.
        n_parameters: Numbers in them, buffers included.
        dropped: Names of aliases and of parts that are no weights; at most 32, then a count.
    """

    source_format: str
    order_is_known: bool
    n_tensors: int
    n_parameters: int
    dropped: tuple[str, ...]


def convert(source: Path, target: Path, *, limits: Limits = DEFAULT_LIMITS) -> Converted:
    """Check a checkpoint and write its tensors to target as canonical safetensors.

    Raises:
        Refused: The file is not acceptable; target is not written.
    """
    with open_source(source, limits) as opened:
        source_format = sniff(opened)
        tensors, dropped = _read(opened, source_format, limits)
        names = clean_names([tensor.name for tensor in tensors], limits)
        tensors = [replace(t, name=name) for t, name in zip(tensors, names, strict=True)]
        size = sum(tensor.n_bytes for tensor in tensors)
        if size > limits.max_output_bytes:
            raise refused("output-too-large", size=size, limit=limits.max_output_bytes)
        order_is_known = source_format != SAFETENSORS
        origin = Origin(source_format=source_format, order_is_known=order_is_known)
        write_canonical(opened, tensors, origin, target, limits)
    return Converted(
        source_format=source_format,
        order_is_known=order_is_known,
        n_tensors=len(tensors),
        n_parameters=sum(tensor.n_elements for tensor in tensors),
        dropped=listed(dropped),
    )


def _read(
    source: Source, source_format: str, limits: Limits
) -> tuple[list[StoredTensor], list[str]]:
    if source_format == SAFETENSORS:
        return read_safetensors(source, limits), []
    checkpoint = read_torch_zip(source, limits)
    return checkpoint.tensors, checkpoint.dropped
