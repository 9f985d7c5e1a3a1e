"""What a newcomer would try without a meta-learner, on the very episodes the server answered.

Dims: E episodes, I images, D features, C channels, S side length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.api import Record
from demo.episodes import Draw
from demo.pool_dir import Checkpoint
from demo.story import Story
from ml.backbones import build, initialize
from ml.canvas import NEUTRAL
from ml.checkpoints import Manifest, load_teacher
from ml.episodes import episode_of
from ml.errors import MlError
from ml.evaluation import serving
from ml.learner import MetaLearner
from ml.prototypes import prototype_logits
from ml.types import Teacher, fit_images, normalize

MOST_TEACHERS = 20
CHUNK = 256  # images per forward pass
SEED = 1
RANDOM, TEACHER, PIXELS = (
    "random initialisation",
    "best single teacher, nearest centroid",
    "nearest centroid on pixels",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BestTeacher:
    """The teacher that turned out best on these episodes, out of those that were tried."""

    accuracies: list[float]
    name: str
    tried: int


def centroid_accuracies(features: Tensor, draws: Sequence[Draw]) -> list[float]:
    """Nearest class mean of given features (I, D), per episode."""
    accuracies = []
    for draw in draws:
        n_way = len(draw.rows)
        labels = torch.arange(n_way).repeat_interleave(draw.n_shot)
        logits = prototype_logits(
            features[draw.support_rows], labels, features[draw.query_rows], n_way
        )
        truth = torch.arange(n_way).repeat_interleave(draw.rows.shape[1] - draw.n_shot)
        accuracies.append(share_right(logits, truth))
    return accuracies


def share_right(scores: Tensor, truth: Tensor) -> float:
    """Share of rows whose highest score is at the true class."""
    return (scores.argmax(dim=1) == truth).double().mean().item()


def pixel_accuracies(images: Tensor, draws: Sequence[Draw]) -> list[float]:
    """No network at all: the nearest class mean of the pixels."""
    return centroid_accuracies(images.flatten(1), draws)


def random_accuracies(
    learner: Record,
    manifests: Sequence[Mapping[str, object]],
    images: Tensor,
    draws: Sequence[Draw],
) -> list[float]:
    """The meta-learner's network untrained, served by the same rule; drawn anew per episode."""
    rng = torch.Generator().manual_seed(SEED)
    mean, std = canvas_normalization(manifests, learner["channels"])
    accuracies = []
    for draw in draws:
        n_way = len(draw.rows)
        module = build(
            learner["backbone"],
            n_classes=n_way,
            channels=learner["channels"],
            image_size=learner["image_size"],
        )
        initialize(module, rng)
        untrained = MetaLearner(
            backbone=learner["backbone"],
            n_way=n_way,
            image_size=learner["image_size"],
            channels=learner["channels"],
            mean=mean,
            std=std,
            tensors=module.state_dict(),
        )
        episode = episode_of(images, draw.rows, n_shot=draw.n_shot)
        accuracies.append(share_right(serving(untrained)(episode), episode.query_labels))
    return accuracies


def canvas_normalization(
    manifests: Sequence[Mapping[str, object]], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The pool's own mean and std where all models agree on them, as a build chooses them."""
    used = {_mean_and_std(manifest) for manifest in manifests}
    mean, std = next(iter(used))
    if len(used) > 1 or len(mean) != channels:
        return (NEUTRAL,) * channels, (NEUTRAL,) * channels
    return mean, std


def _mean_and_std(manifest: Mapping[str, object]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    normalization = manifest["normalization"]
    assert isinstance(normalization, Mapping)
    return tuple(normalization["mean"]), tuple(normalization["std"])


def best_teacher(teachers: Mapping[str, Tensor], draws: Sequence[Draw]) -> BestTeacher | None:
    """The teacher whose features do best on these very episodes, which favours this baseline."""
    results = {name: centroid_accuracies(features, draws) for name, features in teachers.items()}
    if not results:
        return None
    name = max(results, key=lambda each: sum(results[each]))
    return BestTeacher(accuracies=results[name], name=name, tried=len(results))


def teacher_features(
    checkpoints: Sequence[Checkpoint], images: Tensor, story: Story
) -> dict[str, Tensor]:
    """Unit features (I, D) of all images from each teacher, as trained; by the model's name.

    Only safetensors files are read: loading a .pt file may run its code.
    """
    readable = [each for each in checkpoints if each.path.suffix == ".safetensors"]
    found: dict[str, Tensor] = {}
    tried = readable[:MOST_TEACHERS]
    with story.bar("teachers") as bar:
        for position, checkpoint in enumerate(tried, start=1):
            try:
                teacher = load_teacher(checkpoint.path, manifest_of(checkpoint))
            except MlError as error:
                story.say(f"{checkpoint.path.name} left out: {error}")
                continue
            found[checkpoint.path.stem] = unit_features(teacher, images)
            bar.update(position / len(tried), f"{position} of {len(tried)}")
    return found


def manifest_of(checkpoint: Checkpoint) -> Manifest:
    """The part of an upload's manifest that says what the network is."""
    manifest = checkpoint.manifest
    mean, std = _mean_and_std(manifest)
    names = checkpoint.class_names or tuple(map(str, range(int(manifest["n_classes"]))))
    return Manifest(
        backbone=manifest["backbone"],
        class_names=names,
        image_size=manifest["image_size"],
        channels=manifest.get("channels", 3),
        mean=mean,
        std=std,
    )


@torch.no_grad()
def unit_features(teacher: Teacher, images: Tensor) -> Tensor:
    """(I, C, S, S) in [0, 1] -> (I, D), scaled to length 1; BatchNorm as trained."""
    encoder = teacher.module.get_submodule("encoder")
    features = []
    for chunk in torch.split(images, CHUNK):
        fitted = fit_images(chunk, size=teacher.image_size, channels=teacher.channels)
        features.append(encoder(normalize(fitted, teacher.mean, teacher.std)))
    return F.normalize(torch.cat(features), dim=1)
