"""What a support set makes of a meta-learner: a frozen classifier that holds no image.

Dims: B images, S support images, N ways, D numbers that images are compared by.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ml.backbones import Backbone
from ml.learner import MetaLearner
from ml.prototypes import class_means, nearness
from ml.shapes import Float, Int
from ml.types import fit_images, normalize

CHUNK = 256  # images per forward pass: bounds memory for 5000 support images


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Answers:
    """What a classifier says of some images."""

    probabilities: Float[Tensor, "b n"]
    """Of each class; rows sum to 1."""
    likeness: Float[Tensor, "b s"] | None
    """Cosine with each support image; None where images are not compared with one another."""


class Classifier(nn.Module):
    """Images in [0, 1], in its own side and channels, to logits; each kind says how."""

    alone = True
    """Whether an image's answer depends on no other image."""

    def __init__(self, *, n_way: int, temperature: float, image_size: int, channels: int) -> None:
        """Say what all kinds have in common; the temperature is what logits are divided by."""
        super().__init__()
        self.n_way, self.temperature = n_way, temperature
        self.image_size, self.channels = image_size, channels

    @torch.no_grad()
    def answer(self, images: Float[Tensor, "b c2 h w"]) -> Answers:
        """Answer images in [0, 1] of any size, of 1 or 3 channels."""
        images = self.fitted(images)
        logits = in_chunks(self, images) if self.alone else self(images)
        return Answers(probabilities=self.probabilities(logits), likeness=None)

    def probabilities(self, logits: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """What `forward` gave, as probabilities."""
        return (logits / self.temperature).softmax(dim=1)

    def fitted(self, images: Float[Tensor, "b c2 h w"]) -> Float[Tensor, "b c s s"]:
        """Images in the form that this classifier takes, where it computes."""
        chunks = torch.split(images.to(self.device), CHUNK)
        parts = [fit_images(c, size=self.image_size, channels=self.channels) for c in chunks]
        return torch.cat(parts).contiguous(memory_format=torch.channels_last)  # faster on a CPU

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    @property
    def memory_bytes(self) -> int:
        """What its tensors take."""
        return sum(t.nbytes for t in (*self.parameters(), *self.buffers()))


class PrototypeClassifier(Classifier):
    """Minus half the squared distance between unit vectors and class means, over their spread.

    The spread is the mean squared length of the class means, 1 at one shot: means of more images
    are shorter, so distances to them differ less, and one temperature would be sure of too little.
    """

    features: Tensor
    """(S, D), of the support images."""
    labels: Tensor
    centre: Tensor
    """(D,), what directions are seen from."""
    prototypes: Tensor
    spread: Tensor

    def place(
        self, features_SD: Float[Tensor, "s d"], labels_S: Int[Tensor, " s"], *, centred: bool
    ) -> None:
        """Place the classes where the support images lie.

        Args:
            features_SD: of the support images.
            labels_S: 0 to N - 1, each present.
            centred: whether directions are seen from the mean of the class means, or from zero.
        """
        self.centred = centred
        placed = _placed(features_SD, labels_S, self.n_way, centred=centred)
        self.register_buffer("features", features_SD, persistent=False)
        self.register_buffer("labels", labels_S, persistent=False)
        for name, tensor in zip(("centre", "prototypes", "spread"), placed, strict=True):
            self.register_buffer(name, tensor)

    def look(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b d"]:
        """Features of images."""
        raise NotImplementedError

    def forward(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b n"]:
        """Logits, not yet divided by the temperature."""
        return self._compare(self._directions(self.look(images)))

    @torch.no_grad()
    def answer(self, images: Float[Tensor, "b c2 h w"]) -> Answers:
        """Answer images in [0, 1] of any size, of 1 or 3 channels."""
        unit_BD = self._directions(in_chunks(self.look, self.fitted(images)))
        return Answers(
            probabilities=self.probabilities(self._compare(unit_BD)),
            likeness=unit_BD @ self._directions(self.features).T,
        )

    @torch.no_grad()
    def left_out(self) -> Float[Tensor, "s n"]:
        """Logits of each support image by a classifier that has not seen it.

        In turn, one image of each class is left out, so that classes stay as even as they are; one
        that is alone in its class never is, and its row is nan.
        """
        places_S = places_in_class(self.labels, self.n_way)
        may_go_S = torch.bincount(self.labels, minlength=self.n_way)[self.labels] > 1
        logits_SN = torch.full((len(self.labels), self.n_way), torch.nan, device=self.labels.device)
        for turn in range(int(places_S.max()) + 1):
            out = (places_S == turn) & may_go_S
            if out.any():
                centre, prototypes, spread = _placed(
                    self.features[~out], self.labels[~out], self.n_way, centred=self.centred
                )
                unit = F.normalize(self.features[out] - centre, dim=1)
                logits_SN[out] = nearness(unit, prototypes) / 2 / spread
        return logits_SN

    def _directions(self, features: Tensor) -> Tensor:
        return F.normalize(features - self.centre, dim=1)

    def _compare(self, unit_BD: Tensor) -> Tensor:
        return nearness(unit_BD, self.prototypes) / 2 / self.spread


def _placed(
    features_SD: Tensor, labels_S: Tensor, n_way: int, *, centred: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Centre (D,), prototypes (N, D) and spread of a support set."""
    centre_D = torch.zeros_like(features_SD[0])
    if centred:
        centre_D = class_means(features_SD, labels_S, n_way).mean(dim=0)
    prototypes_ND = class_means(F.normalize(features_SD - centre_D, dim=1), labels_S, n_way)
    return centre_D, prototypes_ND, prototypes_ND.square().sum(dim=1).mean().clamp_min(1e-6)


def centroid_probabilities(
    support_SD: Float[Tensor, "s d"],
    labels_S: Int[Tensor, " s"],
    query_QD: Float[Tensor, "q d"],
    n_way: int,
    *,
    temperature: float,
) -> Float[Tensor, "q n"]:
    """What a PrototypeClassifier answers that sees from the support set's middle, from features."""
    centre, prototypes, spread = _placed(support_SD, labels_S, n_way, centred=True)
    unit = F.normalize(query_QD - centre, dim=1)
    return (nearness(unit, prototypes) / 2 / spread / temperature).softmax(dim=1)


def places_in_class(labels_S: Int[Tensor, " s"], n_way: int) -> Int[Tensor, " s"]:
    """0 for the first image of its class, 1 for the second, and so on."""
    counted_SN = F.one_hot(labels_S, n_way).cumsum(dim=0)
    return counted_SN.gather(1, labels_S.unsqueeze(1)).squeeze(1) - 1


class CentroidClassifier(PrototypeClassifier):
    """One network's features, as directions (Wang et al. 2019, SimpleShot, "CL2N").

    They are seen from the support set's middle, if the adaptation asks for it; in the paper from
    that of the base classes, which nobody here has. Few support images say where the middle is only
    badly: a projection that was trained on directions has it at zero already.
    """

    def __init__(
        self,
        learner: MetaLearner,
        encoder: nn.Module,
        support: Float[Tensor, "s c z z"],
        labels_S: Int[Tensor, " s"],
        n_way: int,
    ) -> None:
        """Place the classes.

        Args:
            learner: whose normalisation, projection and rule count.
            encoder: its encoder, normalising as its adaptation asks.
            support: in [0, 1], of the learner's side and channels.
            labels_S: 0 to n_way - 1, each present.
            n_way: N.
        """
        super().__init__(
            n_way=n_way,
            temperature=learner.adaptation.temperature,
            image_size=learner.image_size,
            channels=learner.channels,
        )
        self.encoder, self._mean, self._std = encoder, learner.mean, learner.std
        self.alone = learner.adaptation.batch_statistics != "transductive"
        self.projection = learner.projection
        centred = learner.adaptation.centre == "support"
        self.place(in_chunks(self.look, support), labels_S, centred=centred)

    def look(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b d"]:
        """What the network makes of images, after the projection."""
        features: Tensor = self.encoder(normalize(images, self._mean, self._std))
        return features if self.projection is None else self.projection(features)

    @property
    def memory_bytes(self) -> int:
        """What its tensors take, the learner's projection included: they live as long."""
        return super().memory_bytes + (0 if self.projection is None else self.projection.nbytes)


class HeadClassifier(Classifier):
    """A network with a head of its own, fine-tuned on the support set."""

    def __init__(self, learner: MetaLearner, network: Backbone, n_way: int, *, alone: bool) -> None:
        """Take the network over; its first n_way outputs are the classes.

        Args:
            learner: whose normalisation and temperature count.
            network: adapted.
            n_way: N.
            alone: False where its BatchNorm layers normalise over the batch they see.
        """
        super().__init__(
            n_way=n_way,
            temperature=learner.adaptation.temperature,
            image_size=learner.image_size,
            channels=learner.channels,
        )
        self.network, self._mean, self._std = network, learner.mean, learner.std
        self.alone = alone

    def forward(self, images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b n"]:
        """The head's outputs."""
        logits: Tensor = self.network(normalize(images, self._mean, self._std))
        return logits[:, : self.n_way]


def in_chunks(answer: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Answers to many images with bounded memory."""
    return torch.cat([answer(chunk) for chunk in torch.split(images, CHUNK)])
