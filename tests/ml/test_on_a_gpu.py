"""What a GPU computes is what the CPU computes; passed over where there is none."""

from dataclasses import replace

import pytest
import torch
from test_recover import CONFIG, a_generator
from toy_pool import seeded, toy_teachers

from ml.algorithms.free import FreeConfig, train
from ml.fewshot import predict
from ml.inversion.recover import recover_task
from ml.inversion.stacked import recover_tasks
from ml.types import Teacher

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
CLASSES = [(2, 0, 1), (0, 1, 2), (1, 0, 2), (2, 1, 0)]


def teachers_on(device: torch.device) -> list[Teacher]:
    pool = toy_teachers()
    for teacher in pool:
        teacher.module.to(device)
    return list(pool)


@pytest.fixture
def gpu():
    yield torch.device("cuda")
    teachers_on(torch.device("cpu"))  # the toys are shared by all tests


@pytest.mark.parametrize("changes", [{}, {"bn_weight": 0.1}, {"candidates": 2}], ids=str)
def test_stacked_recovery_on_a_gpu_gives_what_a_loop_on_the_cpu_gives(gpu, changes):
    config = replace(CONFIG, steps=1, **changes)
    generator, phi = a_generator(config)
    rng = seeded(4)
    alone = [
        recover_task(teacher, chosen, generator, phi, config, student=None, rng=rng)
        for teacher, chosen in zip(toy_teachers(), CLASSES, strict=True)
    ]
    there = {name: p.to(gpu) for name, p in phi.items()}
    stacked = recover_tasks(
        teachers_on(gpu), CLASSES, generator, there, config, student=None, rng=seeded(4)
    )
    for one, other in zip(alone, stacked, strict=True):
        torch.testing.assert_close(other.images.cpu(), one.images, atol=1e-3, rtol=1e-3)
        assert other.loss == pytest.approx(one.loss, rel=1e-2)


@pytest.mark.parametrize("replay", ["maml", "prototypical"])
def test_a_build_on_a_gpu_delivers_a_learner_that_answers_on_the_cpu(gpu, replay):
    config = FreeConfig(
        outer_steps=3,
        warm_up_steps=1,
        images_per_class=4,
        latent_dim=8,
        generator_width=4,
        replay=replay,
        replay_episodes=2,
        replay_max_batches=2,
        replay_shots=1,
        replay_queries=2,
        save_every=2,
        precision="auto",
        candidates=2,
        bn_weight=0.1,
    )
    learner = train(teachers_on(gpu), config, rng=seeded(0), device=gpu)
    images = torch.rand(6, 1, 16, 16, generator=seeded(1))
    answers = predict(learner, images[:2], torch.tensor([0, 1]), images[2:], n_way=2)
    torch.testing.assert_close(answers.sum(dim=1), torch.ones(4))
