"""The layers behind a learner's features: what they compute, and what a file may say of them."""

from pathlib import Path

import pytest
import torch
from toy_pool import seeded

from ml.backbones import build, initialize
from ml.errors import CheckpointMismatch
from ml.learner import MetaLearner, load_meta_learner, save_meta_learner
from ml.projection import Projection, take_projection
from ml.student import folded_head, new_head

D, H, P = 6, 9, 4


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed))


@pytest.mark.parametrize("hidden", [0, H])
def test_a_folded_head_places_features_as_the_trained_one_does_with_statistics_of_all_of_them(
    hidden: int,
) -> None:
    """Against torch's own BatchNorm1d, over features that lie far from zero, in uneven batches."""
    head = new_head(D, hidden, P, seeded(1))
    with torch.no_grad():
        for index, parameter in enumerate(head.parameters()):
            parameter.add_(random(*parameter.shape, seed=index))
    features = 3.0 + 2.0 * random(101, D) @ random(D, D, seed=2)

    folded = folded_head(dict(head.named_parameters()), torch.split(features, 17))
    batch = features.double()
    expected = head.double().train()(batch).float()  # the biased variance of all rows at once
    assert torch.allclose(folded(features), expected.detach(), atol=1e-4)


def learner(projection: Projection | None) -> MetaLearner:
    module = build("conv4", n_classes=2, channels=1, image_size=16)
    initialize(module, seeded(0))
    return MetaLearner(
        backbone="conv4",
        n_way=2,
        image_size=16,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        tensors=module.state_dict(),
        projection=projection,
    )


WIDTH = learner(None).module().feature_dim


def test_a_file_of_a_linear_map_alone_reads_as_it_always_did(tmp_path: Path) -> None:
    """Learners built before there were hidden units hold one tensor, `projection`."""
    linear = Projection(weight=random(P, WIDTH))
    assert linear.tensors().keys() == {"projection"}
    save_meta_learner(tmp_path / "learner", learner(linear))
    read = load_meta_learner(tmp_path / "learner").projection
    assert read is not None
    features = random(5, WIDTH)
    assert torch.equal(read(features), features @ linear.weight.T)


def test_what_is_no_projection_stays_among_the_tensors() -> None:
    tensors = {"encoder.weight": random(2), "projection": random(P, D)}
    assert take_projection(tensors) is not None
    assert tensors.keys() == {"encoder.weight"}
    assert take_projection(tensors) is None


@pytest.mark.parametrize(
    "parts",
    [
        {"weight": random(P, WIDTH + 1)},
        {"weight": random(P, WIDTH), "offset": random(P + 1)},
        {"weight": random(P, WIDTH), "hidden_offset": random(P)},
        {"weight": random(P, H), "hidden": random(H, WIDTH + 1), "hidden_offset": random(H)},
        {"weight": random(P, WIDTH), "hidden": random(H, WIDTH), "hidden_offset": random(H)},
        {"weight": random(P, H), "hidden": random(H, WIDTH)},
        {"weight": random(P)},
        {"weight": random()},
        {"weight": random(P, WIDTH), "offset": random()},
        {"weight": random(P, H), "hidden": random(), "hidden_offset": random(H)},
        {"weight": random(P, H), "hidden": random(H, WIDTH), "hidden_offset": random()},
        {"weight": random(P, H), "hidden": random(H), "hidden_offset": random(H)},
    ],
)
def test_a_file_whose_projection_fits_nothing_is_refused(
    parts: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    bare = {f"projection_{n}" if n != "weight" else "projection": t for n, t in parts.items()}
    whole = learner(None)
    save_meta_learner(
        tmp_path / "learner",
        MetaLearner(
            backbone=whole.backbone,
            n_way=whole.n_way,
            image_size=whole.image_size,
            channels=whole.channels,
            mean=whole.mean,
            std=whole.std,
            tensors={**whole.tensors, **bare},
        ),
    )
    with pytest.raises(CheckpointMismatch, match="projection does not fit"):
        load_meta_learner(tmp_path / "learner")
