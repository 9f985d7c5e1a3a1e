"""The architectures a pool may hold: an allow-list, since a checkpoint's code is never run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from ml.backbones.base import Backbone, initialize
from ml.backbones.conv4 import build_conv4
from ml.backbones.from_torchvision import build_mobilenet_v3_small, build_torchvision_resnet
from ml.backbones.resnet import build_resnet, build_resnet12
from ml.errors import InvalidConfig, UnknownBackbone

__all__ = ["BACKBONES", "Backbone", "BackboneSpec", "build", "initialize"]

MIN_CLASSES = 2
CHANNELS = (1, 3)
MIN_IMAGE_SIZE = 16  # below, four halvings leave nothing of the picture
MAX_IMAGE_SIZE = 224


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec:
    """One entry of the allow-list."""

    summary: str
    """What it is, in a line for people who choose."""
    builder: Callable[..., Backbone]
    """Called with n_classes, channels and image_size, all checked; on torch's default device."""


BACKBONES: Mapping[str, BackboneSpec] = MappingProxyType(
    {
        "conv4": BackboneSpec(
            summary="four 3x3 convolution blocks of 32 filters (few-shot papers)",
            builder=partial(build_conv4, filters=32),
        ),
        "conv4_64": BackboneSpec(
            summary="four 3x3 convolution blocks of 64 filters (few-shot papers)",
            builder=partial(build_conv4, filters=64),
        ),
        "resnet10": BackboneSpec(
            summary="ResNet-10 with a 3x3 stem and no max-pool (few-shot papers)",
            builder=partial(build_resnet, blocks_per_stage=1),
        ),
        "resnet12": BackboneSpec(
            summary="ResNet-12 of widths 64-160-320-640 with leaky ReLUs (MetaOptNet)",
            builder=build_resnet12,
        ),
        "resnet18": BackboneSpec(
            summary="ResNet-18 with a 3x3 stem and no max-pool (few-shot papers)",
            builder=partial(build_resnet, blocks_per_stage=2),
        ),
        "torchvision_resnet18": BackboneSpec(
            summary="torchvision's ResNet-18, 7x7 stem and max-pool",
            builder=partial(build_torchvision_resnet, network="resnet18"),
        ),
        "torchvision_resnet34": BackboneSpec(
            summary="torchvision's ResNet-34, 7x7 stem and max-pool",
            builder=partial(build_torchvision_resnet, network="resnet34"),
        ),
        "torchvision_resnet50": BackboneSpec(
            summary="torchvision's ResNet-50, 7x7 stem and max-pool",
            builder=partial(build_torchvision_resnet, network="resnet50"),
        ),
        "mobilenet_v3_small": BackboneSpec(
            summary="torchvision's MobileNetV3-Small",
            builder=build_mobilenet_v3_small,
        ),
    }
)


def build(name: str, *, n_classes: int, channels: int, image_size: int) -> Backbone:
    """Make a freshly initialised backbone on torch's default device.

    Args:
        name: a key of BACKBONES.
        n_classes: K, outputs of the classifier, at least 2.
        channels: C, 1 or 3.
        image_size: side length in pixels, 16 to 224.

    Raises:
        UnknownBackbone: if the name is not on the allow-list; the message lists the names.
        InvalidConfig: if a size is out of range; the message says what to do.
    """
    spec = BACKBONES.get(name)
    if spec is None:
        raise UnknownBackbone(
            f"no backbone is called {name!r}; choose one of {', '.join(BACKBONES)}"
        )
    if n_classes < MIN_CLASSES:
        raise InvalidConfig(f"a classifier needs at least {MIN_CLASSES} classes, got {n_classes}")
    if channels not in CHANNELS:
        raise InvalidConfig(
            f"images have 1 or 3 channels, got {channels}; convert them to grey or RGB"
        )
    if not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise InvalidConfig(
            f"image_size must be {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE} pixels, got {image_size}; "
            "resize the images to a side in this range and train on those"
        )
    return spec.builder(n_classes=n_classes, channels=channels, image_size=image_size)
