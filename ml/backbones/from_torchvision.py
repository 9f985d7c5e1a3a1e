"""torchvision's own networks, cut before their last linear layer; never with downloaded weights.

torchvision is imported where it is used: it pulls in torch's compiler, which would triple the
start-up time of every job and of the API for pools that hold none of these networks.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from ml.backbones.base import Backbone
from ml.shapes import Float

if TYPE_CHECKING:
    from torchvision import models


class MobileNetEncoder(nn.Module):
    """MobileNetV3's feature maps, averaged, and its 1024-unit hidden layer.

    Deviation from torchvision: no dropout before the classifier. Teachers answer in eval mode,
    where it does nothing, and a meta-learner draws randomness from its own generator alone.
    """

    def __init__(self, network: "models.MobileNetV3") -> None:
        super().__init__()
        self.features = network.features
        self.hidden = network.classifier[0]

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """1024 features per image."""
        averaged = self.features(images).mean(dim=(2, 3))
        return nn.functional.hardswish(self.hidden(averaged))


def build_torchvision_resnet(
    *, n_classes: int, channels: int, image_size: int, network: str
) -> Backbone:
    """A ResNet for photographs: 7x7 stem of stride 2 and max-pool (He et al. 2016)."""
    from torchvision import models

    del image_size
    encoder = getattr(models, network)(weights=None)
    feature_dim = encoder.fc.in_features
    encoder.fc = nn.Identity()
    encoder.conv1 = with_input_channels(encoder.conv1, channels)
    return Backbone(encoder, feature_dim=feature_dim, n_classes=n_classes)


def build_mobilenet_v3_small(*, n_classes: int, channels: int, image_size: int) -> Backbone:
    """MobileNetV3-Small (Howard et al. 2019)."""
    from torchvision import models

    del image_size
    network = models.mobilenet_v3_small(weights=None)
    stem = network.features[0]
    stem[0] = with_input_channels(stem[0], channels)
    encoder = MobileNetEncoder(network)
    return Backbone(encoder, feature_dim=encoder.hidden.out_features, n_classes=n_classes)


def with_input_channels(stem: nn.Conv2d, channels: int) -> nn.Conv2d:
    """The same first convolution for another number of input channels."""
    if stem.in_channels == channels:
        return stem
    return nn.Conv2d(
        channels,
        stem.out_channels,
        kernel_size=stem.kernel_size,  # type: ignore[arg-type]  # torch types it as any tuple
        stride=stem.stride,  # type: ignore[arg-type]
        padding=stem.padding,  # type: ignore[arg-type]
        bias=stem.bias is not None,
    )
