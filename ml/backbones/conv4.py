"""Conv4, the four-block network of few-shot learning (Vinyals et al. 2016, section 4.1).

Four blocks of [3x3 convolution with bias - BatchNorm - ReLU - 2x2 max-pool], then a flatten:
filters * floor(S / 16)^2 features for images of S pixels.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from ml.backbones.base import Backbone
from ml.shapes import Float

N_BLOCKS = 4


class ConvBlock(nn.Module):
    """3x3 convolution, BatchNorm, ReLU, 2x2 max-pool: half the side length."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Filtered images at half the resolution, rounded down."""
        return F.max_pool2d(F.relu(self.bn(self.conv(images))), kernel_size=2)


class Conv4Encoder(nn.Sequential):
    """Four blocks and a flatten; features keep their place in the image."""

    def __init__(self, channels: int, filters: int) -> None:
        widths = (channels, *(filters,) * N_BLOCKS)
        super().__init__(*map(ConvBlock, widths[:-1], widths[1:]), nn.Flatten())


def build_conv4(*, n_classes: int, channels: int, image_size: int, filters: int) -> Backbone:
    """Conv4 with the given number of filters per block."""
    side = image_size // 2**N_BLOCKS
    encoder = Conv4Encoder(channels, filters)
    return Backbone(encoder, feature_dim=filters * side**2, n_classes=n_classes)
