"""Plain settings, as a recipe carries them, to an algorithm's frozen config."""

import sys
from collections.abc import Collection, Mapping
from dataclasses import Field, asdict, replace
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from ml.errors import InvalidConfig


@runtime_checkable
class IsDataclass(Protocol):
    """What dataclasses.replace takes."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Config = TypeVar("Config", bound=IsDataclass)


def from_preset(
    settings: Mapping[str, Any],
    presets: Mapping[str, Config],
    *,
    algorithm: str,
    default: str,
    optional: Collection[str] = (),
    choices: Mapping[str, tuple[str, ...]],
) -> Config:
    """A preset with the named fields changed.

    Args:
        settings: field names and values; `preset` names where to start.
        presets: by name.
        algorithm: what messages call it.
        default: the preset where none is named.
        optional: fields that may be null, else an integer.
        choices: of each field that has them.

    Raises:
        InvalidConfig: on an unknown preset or field, a value of the wrong type, or one that the
            config refuses.
    """
    changes = dict(settings)
    preset = changes.pop("preset", default)
    if not isinstance(preset, str) or preset not in presets:
        raise InvalidConfig(f"preset must be one of {', '.join(presets)}")
    known = asdict(presets[preset])
    for name, value in changes.items():
        if name not in known:
            raise InvalidConfig(f"{algorithm} has no setting {name!r}")
        if not (_fits_optional(value) if name in optional else _fits(value, known[name])):
            raise InvalidConfig(f"{name} has a value of the wrong type")
        if isinstance(known[name], float):
            changes[name] = float(value)
    check_choices(changes, choices)
    return replace(presets[preset], **changes)


def check_choices(settings: Mapping[str, Any], choices: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a setting whose value is not among its choices."""
    for name in settings.keys() & choices.keys():
        if settings[name] not in choices[name]:
            raise InvalidConfig(f"{name} must be one of {', '.join(choices[name])}")


def _fits_optional(value: object) -> bool:
    return value is None or type(value) is int


def _fits(value: object, default: object) -> bool:
    """Whether a value has its field's type; an int may stand for a float, a bool for nothing."""
    if isinstance(default, float):
        # JSON's 1e400 is an integer of 400 digits or infinity; neither is a setting.
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return abs(value) <= sys.float_info.max
    return type(value) is type(default)
