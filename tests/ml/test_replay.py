"""Episodes answered at once give the gradients of a loop over them."""

import pytest
import torch
from toy_pool import CPU, seeded

from ml.backbones import build, initialize
from ml.functional import batch_normalised, gradients, leaves, norms_composed, parameters_of, summed
from ml.replay import maml_adapted, maml_query_logits, maml_query_logits_at_once
from ml.types import Episode

N_WAY, SHOTS, QUERIES, EPISODES = 3, 2, 4, 3


def student():
    module = build("conv4", n_classes=N_WAY, channels=1, image_size=16)
    initialize(module, seeded(0))
    return batch_normalised(module).double()


def episodes():
    rng = seeded(1)
    return [
        Episode(
            support_images=torch.rand(N_WAY * SHOTS, 1, 16, 16, generator=rng).double(),
            support_labels=torch.arange(N_WAY).repeat_interleave(SHOTS),
            query_images=torch.rand(N_WAY * QUERIES, 1, 16, 16, generator=rng).double(),
            query_labels=torch.arange(N_WAY).repeat_interleave(QUERIES),
            n_way=N_WAY,
        )
        for _ in range(EPISODES)
    ]


@pytest.mark.parametrize("second_order", [True, False])
def test_replay_at_once_has_the_gradients_of_the_loop(second_order):
    network, how = student(), {"steps": 3, "lr": 0.05, "second_order": second_order}
    params = leaves(parameters_of(network, CPU))

    def loss(logits, episode):
        return torch.nn.functional.cross_entropy(logits, episode.query_labels)

    slopes, answers = [], []
    for episode in episodes():
        adapted = maml_adapted(network, params, episode, lambda x: 2 * x - 1, **how)
        answers.append(maml_query_logits(network, adapted, episode, lambda x: 2 * x - 1))
        slopes.append(gradients(loss(answers[-1], episode), params))
    composed = norms_composed(student())
    at_once = maml_query_logits_at_once(composed, params, episodes(), lambda x: 2 * x - 1, **how)
    total = sum(loss(*each) for each in zip(at_once, episodes(), strict=True))
    found = gradients(total, params)

    torch.testing.assert_close(at_once, torch.stack(answers), atol=1e-8, rtol=1e-8)
    for name, slope in summed(slopes).items():
        torch.testing.assert_close(found[name], slope, atol=1e-5, rtol=1e-5)


def test_the_second_order_matters_in_this_comparison():
    network = norms_composed(student())
    params = leaves(parameters_of(network, CPU))
    first, second = (
        gradients(
            maml_query_logits_at_once(
                network, params, episodes(), lambda x: x, steps=3, lr=0.05, second_order=order
            )
            .square()
            .sum(),
            params,
        )
        for order in (False, True)
    )
    name = "encoder.0.conv.weight"
    assert (first[name] - second[name]).abs().max() > 1e-3
