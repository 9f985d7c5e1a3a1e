"""The manifest: what an uploader says about a checkpoint, and what of it cannot be."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from pool.domain import Manifest
from pool.errors import InvalidInput

EXAMPLE: JsonDict = {
    "name": "ward-3-chest-xray",
    "backbone": "conv4",
    "class_names": ["normal", "effusion", "nodule"],
    "image_size": 32,
    "channels": 1,
    "normalization": {"mean": [0.5], "std": [0.25]},
    "pool": "default",
    "domain": "radiology",
}

NO_NUL = r"^[^\x00]*$"  # PostgreSQL's text holds none
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Normalization(BaseModel):
    """What training subtracted and divided by, per channel, of images in [0, 1]."""

    model_config = ConfigDict(extra="forbid")

    mean: list[Annotated[float, Field(ge=-10, le=10)]] = Field(min_length=1, max_length=3)
    std: list[Annotated[float, Field(gt=0, le=10)]] = Field(min_length=1, max_length=3)


class ManifestIn(BaseModel):
    """What an uploader says about a checkpoint."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    name: Name
    backbone: Annotated[str, Field(min_length=1, max_length=60, pattern=NO_NUL)]
    class_names: Annotated[list[Name], Field(min_length=2, max_length=10_000)] | None = None
    n_classes: int | None = Field(default=None, ge=2, le=10_000)
    image_size: int = Field(ge=16, le=224, description="Side length in pixels.")
    channels: Literal[1, 3] = Field(default=3, description="1 (grey) or 3 (RGB).")
    normalization: Normalization
    pool: Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)] = "default"
    domain: Annotated[str, Field(max_length=100, pattern=NO_NUL)] | None = None
    description: Annotated[str, Field(max_length=5000, pattern=NO_NUL)] | None = None
    training_data_note: Annotated[str, Field(max_length=5000, pattern=NO_NUL)] | None = None
    dp_epsilon: float | None = Field(
        strict=True,
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Self-declared epsilon of DP training.",
    )
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")

    def disagreements(self) -> Iterator[tuple[str, str]]:
        """Fields that do not fit to others, each with what is wrong."""
        for field in ("mean", "std"):
            if len(getattr(self.normalization, field)) != self.channels:
                yield f"normalization.{field}", "one number per channel is needed"
        if self.class_names is None:
            if self.n_classes is None:
                yield "class_names", "name the outputs here, or give n_classes"
            return
        if len(set(self.class_names)) != len(self.class_names):
            yield "class_names", "a name is there twice"
        if self.n_classes not in (None, len(self.class_names)):
            yield "n_classes", "this is not the length of class_names"

    def to_domain(self) -> Manifest:
        """The manifest in the pool's own terms; unnamed classes are named by model and number."""
        named = self.class_names
        return Manifest(
            name=self.name,
            backbone=self.backbone,
            class_names=tuple(named or (f"{self.name} #{i}" for i in range(self.n_classes or 0))),
            image_size=self.image_size,
            channels=self.channels,
            mean=tuple(self.normalization.mean),
            std=tuple(self.normalization.std),
            pool=self.pool,
            domain=self.domain,
            description=self.description,
            training_data_note=self.training_data_note,
            dp_epsilon=self.dp_epsilon,
            sha256=self.sha256,
        )


def parse_manifest(text: str) -> Manifest:
    """The manifest part.

    Raises:
        InvalidInput: the first thing that is wrong with it, by field.
    """
    try:
        manifest = ManifestIn.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise InvalidInput(
            f"{where + ': ' if where else ''}{first['msg']}.",
            part=f"manifest.{where}" if where else "manifest",
        ) from error
    for field, detail in manifest.disagreements():
        raise InvalidInput(f"{field}: {detail}.", part=f"manifest.{field}")
    return manifest.to_domain()
