"""ResNets as few-shot papers use them, on small images: a 3x3 stem of stride 1 and no max-pool.

ResNet-10 and ResNet-18: He et al. 2016, section 4.2, with its blocks of two convolutions and widths
64-128-256-512. ResNet-12: Lee et al. 2019 (MetaOptNet), section 4.1 and supplement, without
DropBlock, which regularises training only. Names of the parts are torchvision's.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from ml.backbones.base import Backbone
from ml.shapes import Float

STAGE_WIDTHS = (64, 128, 256, 512)
RESNET12_WIDTHS = (64, 160, 320, 640)
LEAKY_SLOPE = 0.1


def convolution(in_channels: int, out_channels: int, size: int, *, stride: int = 1) -> nn.Conv2d:
    """A bias-free convolution that keeps the side length at stride 1."""
    return nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False)


def projection(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    """The shortcut where a block changes the shape: 1x1 convolution and BatchNorm."""
    return nn.Sequential(
        convolution(in_channels, out_channels, 1, stride=stride), nn.BatchNorm2d(out_channels)
    )


class BasicBlock(nn.Module):
    """relu( bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x) ), all 3x3."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, out_channels, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = convolution(out_channels, out_channels, 3)
        self.bn2 = nn.BatchNorm2d(out_channels)
        if stride != 1 or in_channels != out_channels:
            self.downsample: nn.Module = projection(in_channels, out_channels, stride=stride)
        else:
            self.downsample = nn.Identity()

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Feature maps of the block."""
        inner = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(inner)) + self.downsample(images))


class ResNet12Block(nn.Module):
    """Three 3x3 convolutions with leaky ReLUs, a projected shortcut, and a 2x2 max-pool."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, out_channels, 3)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = convolution(out_channels, out_channels, 3)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv3 = convolution(out_channels, out_channels, 3)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = projection(in_channels, out_channels, stride=1)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Feature maps at half the resolution, rounded down."""
        inner = F.leaky_relu(self.bn1(self.conv1(images)), LEAKY_SLOPE)
        inner = F.leaky_relu(self.bn2(self.conv2(inner)), LEAKY_SLOPE)
        joined = self.bn3(self.conv3(inner)) + self.downsample(images)
        return F.max_pool2d(F.leaky_relu(joined, LEAKY_SLOPE), kernel_size=2)


class ResNetEncoder(nn.Module):
    """Stem, four stages that halve the resolution from the second on, global average pool.

    `stem_relu` is false for teachers from the published data-free meta-learning code, whose stem
    has no activation; ml.checkpoints recognises them.
    """

    def __init__(self, channels: int, blocks_per_stage: int) -> None:
        super().__init__()
        self.stem_relu = True
        self.conv1 = convolution(channels, STAGE_WIDTHS[0], 3)
        self.bn1 = nn.BatchNorm2d(STAGE_WIDTHS[0])
        in_channels = STAGE_WIDTHS[0]
        for index, width in enumerate(STAGE_WIDTHS):
            first = BasicBlock(in_channels, width, stride=1 if index == 0 else 2)
            others = (BasicBlock(width, width, stride=1) for _ in range(blocks_per_stage - 1))
            self.add_module(f"layer{index + 1}", nn.Sequential(first, *others))
            in_channels = width

    def extra_repr(self) -> str:
        """What the parts do not show: two networks that print alike compute alike."""
        return f"stem_relu={self.stem_relu}"

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """512 features per image."""
        maps: Tensor = self.bn1(self.conv1(images))
        if self.stem_relu:
            maps = F.relu(maps)
        for index in range(len(STAGE_WIDTHS)):
            maps = self.get_submodule(f"layer{index + 1}")(maps)
        return maps.mean(dim=(2, 3))


class ResNet12Encoder(nn.Module):
    """Four max-pooled blocks and a global average pool."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, *RESNET12_WIDTHS)
        for index in range(len(RESNET12_WIDTHS)):
            block = ResNet12Block(widths[index], widths[index + 1])
            self.add_module(f"layer{index + 1}", nn.Sequential(block))

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """640 features per image."""
        maps = images
        for index in range(len(RESNET12_WIDTHS)):
            maps = self.get_submodule(f"layer{index + 1}")(maps)
        return maps.mean(dim=(2, 3))


def build_resnet(
    *, n_classes: int, channels: int, image_size: int, blocks_per_stage: int
) -> Backbone:
    """ResNet-10 (one block per stage) or ResNet-18 (two); any image size fits the same weights."""
    del image_size
    encoder = ResNetEncoder(channels, blocks_per_stage)
    return Backbone(encoder, feature_dim=STAGE_WIDTHS[-1], n_classes=n_classes)


def build_resnet12(*, n_classes: int, channels: int, image_size: int) -> Backbone:
    """ResNet-12; any image size fits the same weights."""
    del image_size
    encoder = ResNet12Encoder(channels)
    return Backbone(encoder, feature_dim=RESNET12_WIDTHS[-1], n_classes=n_classes)
