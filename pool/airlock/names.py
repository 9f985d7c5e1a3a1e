"""Names of tensors: what wrappers add is removed, what nobody can read is refused."""

from collections.abc import Sequence

from pool.airlock.limits import Limits
from pool.airlock.refusals import refused

PARALLEL_PREFIX = "module."  # DataParallel, DistributedDataParallel
COMPILED_PART = "_orig_mod"  # torch.compile, around the model or any part of it
RESERVED = "__metadata__"  # safetensors' own header entry
MAX_LISTED = 32
MAX_LISTED_LENGTH = 80


def clean_names(names: Sequence[str], limits: Limits) -> list[str]:
    """Return the names without wrappers' prefixes, in the same order.

    `module.` is removed only where all names carry it: one module may well be called "module".

    Raises:
        Refused: `bad-name`, or `duplicate-name` where removal made two names equal.
    """
    for name in names:
        check_name(name, limits)
    cleaned = [_without_compiled(name) for name in names]
    while cleaned and all(name.startswith(PARALLEL_PREFIX) for name in cleaned):
        cleaned = [name.removeprefix(PARALLEL_PREFIX) for name in cleaned]
    seen: set[str] = set()
    for name in cleaned:
        check_name(name, limits)
        if name in seen:
            raise refused("duplicate-name", name=name)
        seen.add(name)
    return cleaned


def check_name(name: str, limits: Limits) -> None:
    """Refuse (`bad-name`) an empty, overlong, unprintable or reserved name."""
    if not 0 < len(name) <= limits.max_name_length or not name.isprintable() or name == RESERVED:
        raise refused("bad-name", name=name)


def listed(names: Sequence[str]) -> tuple[str, ...]:
    """Shorten a list of names for a report: at most 32 names, of at most 80 characters each."""
    short = tuple(name[:MAX_LISTED_LENGTH] for name in names[:MAX_LISTED])
    rest = len(names) - len(short)
    return (*short, f"and {rest} more") if rest else short


def _without_compiled(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != COMPILED_PART)
