import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy_pool import CPU, seeded

from ml.errors import NoBatchNorm
from ml.functional import apply, parameters_of
from ml.inversion import precision
from ml.inversion.generator import new_generator
from ml.inversion.objectives import augment, disagreement
from ml.inversion.statistics import ChannelMoments, batch_norm_gaps


def normed_network() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).eval()


def n_hooks(network: nn.Module) -> int:
    return sum(len(layer._forward_hooks) for layer in network.modules())


def test_a_gap_is_the_distance_of_mean_and_variance_from_the_remembered_ones():
    """All images equal a: mean (a, a), variance 0; a fresh layer remembers mean 0, variance 1."""
    layer = nn.BatchNorm2d(2).eval()
    with batch_norm_gaps(layer) as gaps:
        layer(torch.full((4, 2, 3, 3), 3.0))
    torch.testing.assert_close(gaps[0], torch.tensor((2 * 9.0) ** 0.5 + 2**0.5))


def test_a_batch_with_the_remembered_statistics_has_no_gap():
    layer, images = nn.BatchNorm2d(2).eval(), torch.randn(8, 2, 5, 5, generator=seeded(0))
    layer.running_mean = images.mean(dim=(0, 2, 3))
    layer.running_var = images.var(dim=(0, 2, 3), correction=0)
    with batch_norm_gaps(layer) as gaps:
        layer(images)
    assert gaps[0] < 1e-5


def test_every_layer_of_every_pass_adds_one_gap_that_reaches_the_images():
    network, images = normed_network(), torch.randn(4, 2, 5, 5, generator=seeded(0))
    images.requires_grad_()
    with batch_norm_gaps(network) as gaps:
        network(images)
        network(images)
    assert len(gaps) == 4
    torch.stack(gaps).sum().backward()
    assert images.grad.abs().sum() > 0


def test_hooks_are_gone_after_the_block_also_when_it_fails():
    network = normed_network()
    with batch_norm_gaps(network):
        assert n_hooks(network) == 2
    assert n_hooks(network) == 0
    with pytest.raises(RuntimeError), batch_norm_gaps(network):
        network(torch.ones(1, 5, 5, 5))
    assert n_hooks(network) == 0


def test_a_teacher_that_remembers_no_statistics_is_refused():
    with pytest.raises(NoBatchNorm), batch_norm_gaps(nn.Conv2d(1, 1, 3)):
        pass


def test_an_augmented_image_is_a_shifted_window_of_the_zero_padded_one():
    images = torch.rand(2, 1, 6, 6, generator=seeded(0)) + 1
    padded = F.pad(images, (2,) * 4)
    windows = [padded[..., t : t + 6, s : s + 6] for t in range(5) for s in range(5)]
    for seed in range(10):
        seen = augment(images, padding=2, flip=False, rng=seeded(seed))
        assert any(torch.equal(seen, window) for window in windows)


def test_about_half_of_the_augmentations_mirror_and_none_when_switched_off():
    images = torch.rand(1, 1, 6, 6, generator=seeded(0))
    rng = seeded(1)
    seen = [augment(images, padding=0, flip=True, rng=rng) for _ in range(100)]
    mirrored = sum(torch.equal(s, images.flip(-1)) for s in seen)
    assert 30 < mirrored < 70
    assert all(
        torch.equal(augment(images, padding=0, flip=False, rng=rng), images) for _ in range(20)
    )


def test_switches_of_the_augmentation_leave_the_rest_of_the_randomness_alone():
    images, states = torch.rand(1, 1, 6, 6, generator=seeded(0)), []
    for padding, flip in ((0, False), (2, True)):
        rng = seeded(1)
        augment(images, padding=padding, flip=flip, rng=rng)
        states.append(rng.get_state())
    assert torch.equal(*states)


def test_disagreement_is_minus_the_mean_kl_over_images_on_which_both_agree():
    teacher = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    student = torch.tensor([[1.0, 0.5, 0.0], [4.0, 0.0, 0.0]])
    first = F.kl_div(student[:1].log_softmax(1), teacher[:1].softmax(1), reduction="batchmean")
    torch.testing.assert_close(disagreement(teacher, student, kind="kl"), -first / 2)


def test_the_published_disagreement_descends_the_inner_product_of_probabilities():
    """Its gradient with respect to the teacher's probabilities is s on agreeing images."""
    teacher = torch.tensor([[2.0, 0.3, 0.0]], requires_grad=True)
    student = torch.tensor([[1.0, 0.5, 0.0]])
    disagreement(teacher, student, kind="inner_product").backward()
    found = teacher.grad.clone()
    teacher.grad = None
    (student.softmax(1) * teacher.softmax(1)).sum().backward()
    torch.testing.assert_close(found, teacher.grad)


@pytest.mark.parametrize("kind", ["kl", "inner_product"])
def test_disagreement_gives_no_gradient_to_the_student(kind):
    teacher = torch.tensor([[2.0, 0.3, 0.0]], requires_grad=True)
    student = torch.tensor([[1.0, 0.5, 0.0]], requires_grad=True)
    disagreement(teacher, student, kind=kind).backward()
    assert student.grad is None
    assert teacher.grad.abs().sum() > 0


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (28, 1), (21, 3)])
def test_generated_images_have_the_asked_shape_and_lie_between_zero_and_one(size, channels):
    generator = new_generator(
        latent_dim=8, width=4, image_size=size, channels=channels, rng=seeded(0)
    )
    images = generator(torch.randn(5, 8, generator=seeded(1)))
    assert images.shape == (5, channels, size, size)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std() > 0.01


def test_the_same_seed_gives_the_same_generator_and_no_other_seed_does():
    def first(seed):
        generator = new_generator(
            latent_dim=8, width=4, image_size=16, channels=1, rng=seeded(seed)
        )
        return generator.expand.weight

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_the_generator_is_the_published_one_in_size():
    """2.33 million parameters at 32 pixels with 256 latent numbers and width 64."""
    generator = new_generator(latent_dim=256, width=64, image_size=32, channels=3, rng=seeded(0))
    assert sum(p.numel() for p in generator.parameters()) == pytest.approx(2.33e6, rel=0.005)


def test_painting_with_other_parameters_leaves_the_generator_alone():
    generator = new_generator(latent_dim=8, width=4, image_size=16, channels=1, rng=seeded(0))
    before = parameters_of(generator, CPU)
    apply(generator, {n: p + 1 for n, p in before.items()}, torch.ones(2, 8))
    assert all(torch.equal(p, before[n]) for n, p in generator.named_parameters())


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_channel_moments_and_their_gradients_are_those_of_var_mean(rng, offset):
    x = torch.randn(6, 3, 5, 4, generator=rng) * torch.tensor([0.5, 1.0, 4.0]).view(1, 3, 1, 1)
    x = (x + offset).requires_grad_()
    weights = torch.randn(2, 3, generator=rng)
    shift = torch.full((3,), offset + 0.3)

    mean, variance = ChannelMoments.apply(x, shift)
    (weights[0] @ mean + weights[1] @ variance).backward()
    found, x.grad = x.grad, None
    expected_variance, expected_mean = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
    (weights[0].double() @ expected_mean + weights[1].double() @ expected_variance).backward()

    torch.testing.assert_close(mean, (expected_mean - shift).float(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(variance, expected_variance.float(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found, x.grad, atol=1e-4, rtol=1e-4)


def test_channel_moments_of_stacked_batches_are_those_of_each(rng):
    x, shift = torch.randn(2, 4, 3, 5, 5, generator=rng), torch.randn(2, 3, generator=rng)
    together = torch.func.vmap(ChannelMoments.apply)(x, shift)
    alone = [ChannelMoments.apply(*each) for each in zip(x, shift, strict=True)]
    for i in range(2):
        torch.testing.assert_close(together[i], torch.stack([each[i] for each in alone]))


def test_a_reflected_border_shows_nothing_but_the_image(rng):
    image = torch.rand(1, 1, 6, 6, generator=rng) + 1.0
    for _ in range(5):
        assert augment(image, padding=3, fill="reflect", flip=True, rng=rng).min() >= 1.0
    assert any(
        augment(image, padding=3, fill="zeros", flip=True, rng=rng).min() == 0.0 for _ in range(5)
    )


def test_the_js_disagreement_is_symmetric_bounded_and_zero_for_equal_answers(rng):
    one, other = torch.randn(2, 40, 3, generator=rng) * 5
    other = torch.where(one.argmax(1, keepdim=True) == other.argmax(1, keepdim=True), other, one)
    there, back = (disagreement(*pair, kind="js") for pair in ((one, other), (other, one)))
    torch.testing.assert_close(there, back)
    assert -math.log(2) < there < 0
    assert disagreement(one, one, kind="js").abs() < 1e-6


def test_automatic_precision_is_bfloat16_only_where_the_machine_has_it(monkeypatch):
    cpu = torch.device("cpu")
    for native in (True, False):
        monkeypatch.setattr(precision, "native_bfloat16", lambda _device, told=native: told)
        with precision.computing_in("auto", cpu):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if native else torch.float32)
    with precision.computing_in("float32", cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
