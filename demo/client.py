"""One client, a process of its own: trains on data it keeps, uploads the weights.

`python -m demo.client --number 3 --server http://... --directory DIR`, with the API key in the
environment variable MODELPOOL_API_KEY (command lines can be read by other users of a machine).

Like any real client it brings its own training code: the network below is written out in plain
PyTorch, and the server only learns that its architecture is called "conv4".

Dims: B images, C channels, S side length, K classes.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from demo import digits
from demo.api import Api
from demo.errors import DemoError

FILTERS, N_BLOCKS = 32, 4
MEAN, STD = 0.3, 0.35  # about the digits' own, in [0, 1]
EPOCHS, BATCH = 6, 32
LR, MOMENTUM = 0.03, 0.9
MAX_SHIFT = 1  # pixels of 16
HELD_OUT = 0.2


class Split(NamedTuple):
    """A client's own images, normalised, and their labels 0 to K - 1."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


class Conv4(nn.Module):
    """Four blocks of [3x3 convolution, BatchNorm, ReLU, 2x2 max-pool] and a linear classifier."""

    def __init__(self, n_classes: int, rng: torch.Generator) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        for block in range(N_BLOCKS):
            conv = nn.Conv2d(FILTERS if block else 1, FILTERS, kernel_size=3, padding=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", generator=rng)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # Conv2d has one by default
            parts = {"conv": conv, "bn": nn.BatchNorm2d(FILTERS)}
            self.encoder.append(nn.ModuleDict(parts))
        self.classifier = nn.Linear(FILTERS, n_classes)
        nn.init.normal_(self.classifier.weight, std=0.1, generator=rng)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 16, 16) -> (B, K) logits."""
        for block in self.encoder:
            images = F.max_pool2d(F.relu(block["bn"](block["conv"](images))), kernel_size=2)  # type: ignore[index]
        logits: Tensor = self.classifier(images.flatten(1))
        return logits


def own_split(classes: tuple[int, ...], rng: torch.Generator) -> Split:
    """The client's images: its own classes only, four fifths to train on."""
    own = digits.load_digits().of_classes(classes)
    images = torch.from_numpy(own.images).float().permute(0, 3, 1, 2) / 255
    images = (images - MEAN) / STD
    labels = torch.tensor([classes.index(int(label)) for label in own.labels])
    order = torch.randperm(len(labels), generator=rng)
    test, train = order.tensor_split([int(HELD_OUT * len(labels))])
    return Split(images[train], labels[train], images[test], labels[test])


def shifted(images: Tensor, rng: torch.Generator) -> Tensor:
    """The batch moved by up to MAX_SHIFT pixels, one random way for all; edges are paper."""
    down, right = torch.randint(0, 2 * MAX_SHIFT + 1, (2,), generator=rng).tolist()
    paper = (0.0 - MEAN) / STD
    padded = F.pad(images, (MAX_SHIFT,) * 4, value=paper)
    side = images.shape[-1]
    return padded[:, :, down : down + side, right : right + side]


def train(model: Conv4, split: Split, rng: torch.Generator) -> tuple[list[Tensor], float]:
    """Supervised training by SGD with momentum; the momentum and the last loss in nats.

    Written out, since the first use of torch.optim loads torch's compiler, which takes longer than
    this training.
    """
    parameters = list(model.parameters())
    momentum = [torch.zeros_like(parameter) for parameter in parameters]
    n_images, last = len(split.train_labels), 0.0
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(n_images, generator=rng), BATCH):
            logits = model(shifted(split.train_images[rows], rng))
            loss = F.cross_entropy(logits, split.train_labels[rows])
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, velocity, gradient in zip(
                    parameters, momentum, gradients, strict=True
                ):
                    velocity.mul_(MOMENTUM).add_(gradient)
                    parameter.sub_(LR * velocity)
            last = loss.item()
    return momentum, last


@torch.no_grad()
def accuracy(model: Conv4, images: Tensor, labels: Tensor) -> float:
    """Share of right answers, 0 to 1."""
    model.eval()
    right = model(images).argmax(dim=1) == labels
    return float(right.double().mean())


def manifest_of(number: int, held_out: float) -> dict[str, Any]:
    """What the client tells the server about its checkpoint."""
    return {
        "name": digits.client_name(number),
        "backbone": "conv4",
        "class_names": [digits.CLASS_NAMES[digit] for digit in digits.client_classes(number)],
        "image_size": digits.SIDE,
        "channels": 1,
        "normalization": {"mean": [MEAN], "std": [STD]},
        "pool": "default",
        "domain": "handwritten digits",
        "description": f"held-out accuracy {held_out:.3f}",
    }


def save_training_checkpoint(
    path: Path, state: Mapping[str, Tensor], momentum: list[Tensor], loss: float
) -> None:
    """A .pt file as training scripts leave it: DataParallel's prefix, optimiser state and all."""
    torch.save(
        {
            "epoch": EPOCHS,
            "model_state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
            "optimizer_state_dict": {"momentum": momentum},
            "loss": loss,
        },
        path,
    )


def make_checkpoint(number: int, directory: Path) -> tuple[Path, dict[str, Any]]:
    """Train, and write NAME.safetensors, its manifest NAME.json and, for even numbers, NAME.pt.

    Returns:
        The file to upload and its manifest.
    """
    rng = torch.Generator().manual_seed(number)
    classes = digits.client_classes(number)
    split = own_split(classes, rng)
    model = Conv4(len(classes), rng)
    momentum, loss = train(model, split, rng)
    manifest = manifest_of(number, accuracy(model, split.test_images, split.test_labels))
    directory.mkdir(parents=True, exist_ok=True)
    stem = directory / digits.client_name(number)
    checkpoint = stem.with_suffix(".safetensors")
    save_file(model.state_dict(), checkpoint)
    if number % 2 == 0:
        checkpoint = stem.with_suffix(".pt")
        save_training_checkpoint(checkpoint, model.state_dict(), momentum, loss)
    stem.with_suffix(".json").write_text(json.dumps(manifest, indent=1))
    return checkpoint, manifest


def main() -> int:
    """Train, upload, print the model's record as a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m demo.client", description=__doc__)
    parser.add_argument("--number", type=int, required=True, help="which client this is, from 1")
    parser.add_argument("--server", required=True, help="address of the server")
    parser.add_argument("--directory", type=Path, required=True, help="where its files go")
    options = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint, manifest = make_checkpoint(options.number, options.directory)
    try:
        with Api(options.server, os.environ["MODELPOOL_API_KEY"]) as api:
            record = api.upload(checkpoint, manifest)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"id": record["id"], "file": checkpoint.name, **manifest}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
