import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from toy_pool import CPU

from ml.backbones import build
from ml.functional import (
    MetaOptimizer,
    adapt,
    apply,
    batch_normalised,
    gradient_alignment,
    gradients,
    inner_step,
    leaves,
    norms_composed,
    parameters_of,
    reptile_gradient,
    summed,
)


def double(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def small_network() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    return network.double()


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(6, 1, 4, 4, generator=rng, dtype=torch.float64), torch.arange(6) % 3


def test_two_inner_steps_reach_the_hand_computed_point_and_meta_gradient():
    """L(w) = w^2 / 2 shrinks w by (1 - lr) per step, so dw''/dw = (1 - lr)^2."""
    w = double(3.0)
    end = adapt({"w": w}, lambda p: p["w"] ** 2 / 2, steps=2, lr=0.1, second_order=True)["w"]
    torch.testing.assert_close(end, 0.81 * w)
    torch.testing.assert_close(torch.autograd.grad(end, w)[0], torch.tensor(0.81).double())


def test_a_first_order_path_passes_the_outer_gradient_through_unchanged():
    w = double(3.0)
    end = adapt({"w": w}, lambda p: p["w"] ** 2 / 2, steps=2, lr=0.1, second_order=False)["w"]
    torch.testing.assert_close(torch.autograd.grad(end, w)[0], torch.tensor(1.0).double())


def test_the_second_order_meta_gradient_of_a_network_is_the_numerical_one():
    network = batch_normalised(small_network())
    params = leaves(parameters_of(network, torch.device("cpu")))
    (support, labels), (query, query_labels) = batch(1), batch(2)

    def outer(start):
        adapted = adapt(
            start,
            lambda p: F.cross_entropy(apply(network, p, support), labels),
            steps=2,
            lr=0.1,
            second_order=True,
        )
        return F.cross_entropy(apply(network, adapted, query), query_labels)

    found = gradients(outer(params), params)["3.weight"][1, 2]
    shift, moved = 1e-5, []
    for sign in (1, -1):
        shifted = {n: p.detach().clone().requires_grad_() for n, p in params.items()}
        with torch.no_grad():
            shifted["3.weight"][1, 2] += sign * shift
        moved.append(outer(shifted).detach())
    torch.testing.assert_close(found, (moved[0] - moved[1]) / (2 * shift), rtol=1e-5, atol=1e-7)


def test_the_first_order_meta_gradient_is_the_query_gradient_at_the_adapted_point():
    network = batch_normalised(small_network())
    params = leaves(parameters_of(network, torch.device("cpu")))
    (support, labels), (query, query_labels) = batch(1), batch(2)

    def loss_of(p):
        return F.cross_entropy(apply(network, p, support), labels)

    adapted = adapt(params, loss_of, steps=3, lr=0.1, second_order=False)
    outer = F.cross_entropy(apply(network, adapted, query), query_labels)
    reference = small_network().train()
    sgd = torch.optim.SGD(reference.parameters(), lr=0.1)
    for _ in range(3):
        sgd.zero_grad()
        F.cross_entropy(reference(support), labels).backward()
        sgd.step()
    sgd.zero_grad()
    F.cross_entropy(reference(query), query_labels).backward()
    found = gradients(outer, params)
    for name, p in reference.named_parameters():
        torch.testing.assert_close(found[name], p.grad)


def test_reptiles_direction_descends_half_of_alpha_times_the_gradient_of_inner_products():
    """Quadratics: g_i = A_i (x - c_i), so grad <g_i, g_j> = A_i g_j + A_j g_i exactly."""
    rng = torch.Generator().manual_seed(3)
    roots = [torch.randn(3, 3, generator=rng, dtype=torch.float64) for _ in range(4)]
    hessians = [r @ r.T for r in roots]
    centres = [torch.randn(3, generator=rng, dtype=torch.float64) for _ in range(4)]
    x, alpha = torch.randn(3, generator=rng, dtype=torch.float64), 1e-4

    def slope(i):
        return hessians[i] @ (x - centres[i])

    moves = []
    for order in itertools.permutations(range(4)):
        point = {"x": x.clone().requires_grad_()}
        for i in order:
            gap = point["x"] - centres[i]
            point = inner_step(point, gap @ hessians[i] @ gap / 2, lr=alpha, second_order=False)
        moves.append(reptile_gradient({"x": x}, point, scale=1 / alpha)["x"])
    excess = torch.stack(moves).mean(dim=0) - sum(slope(i) for i in range(4))
    inner_products = sum(
        hessians[i] @ slope(j) + hessians[j] @ slope(i)
        for i, j in itertools.combinations(range(4), 2)
    )
    coefficient = (excess @ inner_products) / (inner_products @ inner_products) / alpha
    assert coefficient.item() == pytest.approx(-0.5, abs=0.01)


def test_alignment_is_the_mean_cosine_over_pairs_of_whole_gradients():
    tasks = [
        {"a": torch.tensor([1.0]), "b": torch.tensor([0.0])},
        {"a": torch.tensor([0.0]), "b": torch.tensor([2.0])},
        {"a": torch.tensor([-3.0]), "b": torch.tensor([0.0])},
    ]
    assert gradient_alignment(tasks) == pytest.approx((0 + -1 + 0) / 3)
    assert gradient_alignment(tasks[:1]) == 1.0


def test_summed_adds_gradients_name_by_name():
    parts = [{"a": torch.tensor([1.0]), "b": torch.tensor([5.0])} for _ in range(3)]
    assert summed(parts) == {"a": torch.tensor([3.0]), "b": torch.tensor([15.0])}


def test_a_parameter_the_loss_ignores_gets_a_zero_gradient():
    params = {"used": double(2.0), "unused": double(1.0)}
    assert gradients(params["used"] ** 2, params)["unused"] == 0


def run_meta_adam(optimizer: MetaOptimizer, slopes: list[float]) -> None:
    for slope in slopes:
        optimizer.step({"w": torch.tensor([slope])})


def test_the_persistent_meta_optimizer_is_torchs_adam():
    meta = MetaOptimizer({"w": torch.tensor([1.0])}, lr=0.1, betas=(0.5, 0.999))
    w = torch.tensor([1.0], requires_grad=True)
    adam = torch.optim.Adam([w], lr=0.1, betas=(0.5, 0.999))
    for slope in (0.3, -2.0, 5.0):
        meta.step({"w": torch.tensor([slope])})
        w.grad = torch.tensor([slope])
        adam.step()
    torch.testing.assert_close(meta.params["w"], w)


def test_the_fresh_meta_optimizer_only_sees_the_sign_of_a_gradient():
    meta = MetaOptimizer({"w": torch.tensor([0.0])}, lr=0.1, betas=(0.5, 0.999), kind="fresh_adam")
    run_meta_adam(meta, [100.0, 0.001, -7.0])
    torch.testing.assert_close(meta.params["w"].detach(), torch.tensor([-0.1]), atol=1e-5, rtol=0)


def test_a_restored_meta_optimizer_makes_the_very_next_step():
    start = {"w": torch.tensor([1.0])}
    whole = MetaOptimizer(start, lr=0.1, betas=(0.9, 0.999))
    run_meta_adam(whole, [0.3, -2.0])
    resumed = MetaOptimizer(start, lr=0.1, betas=(0.9, 0.999))
    resumed.restore(whole.state())
    run_meta_adam(whole, [5.0, 0.1])
    run_meta_adam(resumed, [5.0, 0.1])
    assert torch.equal(whole.params["w"], resumed.params["w"])


def test_a_batch_normalised_module_answers_as_in_training_and_keeps_nothing():
    reference, module = small_network().train(), batch_normalised(small_network())
    images, _ = batch(5)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    answer = apply(module, parameters_of(module, torch.device("cpu")), images)
    torch.testing.assert_close(answer, reference(images))
    after = module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def second_slope(normalise, weight, x, probe):
    """d/dw of a function of the gradient by w, as second-order MAML takes it."""

    def after_a_step(w, images):
        slope = torch.func.grad(lambda v: (normalise(images * v, v) * probe).sum())(w)
        return (normalise(images * (w - 0.1 * slope), w) * probe.flip(0)).sum()

    w = weight.clone().requires_grad_()
    at_once = torch.func.vmap(after_a_step, in_dims=(None, 0))(w, x).sum()
    loop = torch.stack([after_a_step(w, images) for images in x]).sum()
    return [torch.autograd.grad(total, w)[0] for total in (at_once, loop)]


def test_a_composed_batch_norm_has_right_second_derivatives_at_once_where_torchs_has_not(rng):
    x, probe = torch.randn(2, 5, 3, 4, 4, generator=rng), torch.randn(5, 3, 4, 4, generator=rng)
    weight = torch.rand(3, 1, 1, generator=rng) + 0.5
    layer = nn.BatchNorm2d(3, track_running_stats=False)
    composed = norms_composed(nn.Sequential(layer))[0]

    def with_weight(network):
        return lambda images, w: functional_call(network, {"weight": w.flatten()}, (images,))

    ours, truth = second_slope(with_weight(composed), weight, x, probe)
    torchs, same_truth = second_slope(with_weight(layer), weight, x, probe)
    torch.testing.assert_close(truth, same_truth, atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(ours, truth, atol=1e-2, rtol=1e-3)
    if torch.allclose(torchs, truth, atol=1e-2, rtol=1e-3):
        pytest.fail("torch has mended vmap of BatchNorm: ComposedBatchNorm can go")


def test_composing_norms_changes_no_answer(rng, randomize):
    module = batch_normalised(randomize(build("resnet10", n_classes=3, channels=1, image_size=16)))
    images = torch.rand(6, 1, 16, 16, generator=rng)
    params = parameters_of(module, CPU)
    expected = apply(module, params, images)
    composed = norms_composed(module)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in composed.modules())
    torch.testing.assert_close(apply(composed, params, images), expected, atol=1e-4, rtol=1e-4)
