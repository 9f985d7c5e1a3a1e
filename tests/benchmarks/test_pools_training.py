"""Training many models at once is training each alone; alone is what plain PyTorch does.

In float64: there Adam has no rounding to scale up, so what should be equal is.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.pools.at_once import Shape, choose_at_once, main
from benchmarks.pools.config import OptimizerConfig, TrainingConfig
from benchmarks.pools.plan import stream
from benchmarks.pools.training import TrainingSet, draw_batches, flip, noisy_labels, train_together
from ml.backbones import build, initialize

CPU = torch.device("cpu")
WAYS, SIDE, IMAGES, BATCH = 3, 16, 12, 5  # batches of 5, 5 and 2
QUICK = TrainingConfig(
    epochs=2,
    batch_size=BATCH,
    max_grad_norm=0.5,  # low enough to be reached
    resnet=OptimizerConfig(
        kind="sgd", lr=0.05, momentum=0.9, weight_decay=0.01, milestones=(1,), gamma=0.5
    ),
)


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def a_set(seed: int, n_images: int = IMAGES) -> TrainingSet:
    rng = torch.Generator().manual_seed(seed)
    return TrainingSet(
        images=torch.randn((n_images, 1, SIDE, SIDE), generator=rng),
        labels=torch.arange(n_images) % WAYS,
        seed=seed,
    )


def alone(backbone: str, training_set: TrainingSet, config: TrainingConfig) -> dict[str, Tensor]:
    """The published training, written with a module, an optimiser and a schedule."""
    model = build(backbone, n_classes=WAYS, channels=1, image_size=SIDE)
    initialize(model, stream(training_set.seed, "weights"))
    rng = stream(training_set.seed, "batches")
    optimizer: torch.optim.Optimizer
    if backbone == "conv4":
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    for epoch in range(config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 if backbone == "conv4" else 0.05 * 0.5**epoch
        for rows in torch.split(torch.randperm(IMAGES, generator=rng), config.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(training_set.images[rows]), training_set.labels[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
    return dict(model.state_dict())


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("backbone", ["conv4", "resnet10"])
def test_one_model_is_trained_as_plain_pytorch_trains_it(backbone: str) -> None:
    found = train_together(backbone, [a_set(1)], n_classes=WAYS, config=QUICK, device=CPU)
    assert_equal(found[0], alone(backbone, a_set(1), QUICK))


@pytest.mark.parametrize("backbone", ["conv4", "resnet10"])
def test_models_trained_together_come_out_as_those_trained_alone(backbone: str) -> None:
    config = replace(QUICK, epochs=1, flip=True, label_noise=0.25)
    sets = [a_set(seed) for seed in (1, 2)]
    together = train_together(backbone, sets, n_classes=WAYS, config=config, device=CPU)
    for found, each in zip(together, sets, strict=True):
        (wanted,) = train_together(backbone, [each], n_classes=WAYS, config=config, device=CPU)
        assert_equal(found, wanted)
    counters = [name for name in together[0] if name.endswith("num_batches_tracked")]
    assert counters
    assert {int(model[name]) for model in together for name in counters} == {3}


def test_each_epoch_is_reported_with_its_mean_loss() -> None:
    told: list[tuple[int, float]] = []
    train_together(
        "conv4",
        [a_set(1)],
        n_classes=WAYS,
        config=QUICK,
        device=CPU,
        report=lambda epoch, loss: told.append((epoch, loss)),
    )
    assert [epoch for epoch, _ in told] == [1, 2]
    assert told[1][1] < told[0][1]


def test_every_image_is_seen_once_an_epoch_and_a_lone_last_one_left_out() -> None:
    rngs = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    batches = list(draw_batches(rngs, 10, 4))
    assert [tuple(each.shape) for each in batches] == [(2, 4), (2, 4), (2, 2)]
    both = torch.cat(batches, dim=1)
    assert [sorted(rows) for rows in both.tolist()] == [list(range(10))] * 2
    assert both[0].tolist() != both[1].tolist()
    assert [each.shape[1] for each in draw_batches(rngs, 9, 4)] == [4, 4]


def test_about_half_of_the_images_are_mirrored_and_no_image_otherwise_changed() -> None:
    images = torch.arange(2 * 200 * 2.0).view(2, 200, 1, 1, 2)
    flipped = flip(images, [torch.Generator().manual_seed(seed) for seed in (0, 1)])
    mirrored = (flipped == images.flip(-1)).all(dim=-1)
    assert bool((mirrored | (flipped == images).all(dim=-1)).all())
    shares = mirrored.double().mean(dim=(1, 2, 3))
    assert bool(((shares > 0.4) & (shares < 0.6)).all())
    assert not torch.equal(mirrored[0], mirrored[1])


def test_label_noise_replaces_its_share_by_other_classes_evenly() -> None:
    config = TrainingConfig(label_noise=0.3)
    clean = a_set(7, n_images=3000)
    labels = noisy_labels(clean, WAYS, config)
    wrong = labels != clean.labels
    assert int(wrong.sum()) == 900
    shifts = ((labels - clean.labels) % WAYS)[wrong].bincount(minlength=WAYS)
    assert shifts[0] == 0
    assert 400 < int(shifts[1]) < 500
    assert torch.equal(labels, noisy_labels(clean, WAYS, config))
    assert torch.equal(clean.labels, a_set(7, n_images=3000).labels)
    none = noisy_labels(clean, WAYS, TrainingConfig())
    assert torch.equal(none, clean.labels)


def test_at_once_prints_a_ratio_for_each_count_with_alone_as_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.set_default_dtype(torch.float32)
    tiny = ["--image-size", "16", "--batch-size", "2", "--counts", "2", "--rounds", "1"]
    assert main(tiny) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["at_once"] for row in rows] == [1, 2]
    assert rows[0]["ratio"] == 1.0
    assert all(row["seconds_per_model_step"] > 0 for row in rows)
    shape = Shape(backbone="conv4", n_classes=2, channels=1, image_size=16)
    assert choose_at_once(shape, TrainingConfig(), CPU) == 1
