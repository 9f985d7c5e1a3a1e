"""What is known of a checkpoint before it is read, and what it became."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ml.errors import InvalidConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a pool model's owner declares about it, as far as its tensors are concerned."""

    backbone: str
    """A name on the allow-list, ml.backbones.BACKBONES."""
    class_names: tuple[str, ...]
    """One name per output, in the order of the outputs."""
    image_size: int
    """Side length in pixels."""
    channels: int
    mean: tuple[float, ...]
    """Per channel, of images in [0, 1]."""
    std: tuple[float, ...]
    """Per channel, of images in [0, 1]; positive."""

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.channels:
            raise InvalidConfig(
                f"normalization needs one mean and one std per channel: got {len(self.mean)} and "
                f"{len(self.std)} for {self.channels} channels"
            )
        if min(self.std) <= 0:
            raise InvalidConfig(f"every std must be positive, got {list(self.std)}")

    def describe(self) -> str:
        """The declared network in one line, for messages."""
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return (
            f"{self.backbone} ({len(self.class_names)} classes, {channels}, "
            f"{self.image_size} pixels)"
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fitted:
    """A checkpoint's tensors under the backbone's own names."""

    tensors: Mapping[str, Tensor]
    """Exactly the backbone's state dict, shapes checked, in the checkpoint's own dtypes."""
    options: Mapping[str, float]
    """Where the original network differs by more than names: `bn_eps` (BatchNorm's epsilon) and
    `stem_relu` (0.0 where a ResNet has no ReLU between its stem and its first block)."""
