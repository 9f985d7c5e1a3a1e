import pytest
import torch
from toy_pool import seeded

from ml.drawing import draw_images


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (32, 3), (84, 3)])
def test_pictures_have_the_size_asked_for_and_lie_between_0_and_1(size, channels):
    images = draw_images(5, image_size=size, channels=channels, rng=seeded(0))
    assert images.shape == (5, channels, size, size)
    assert images.min() >= 0.0
    assert images.max() <= 1.0


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others():
    first, again, other = (
        draw_images(3, image_size=16, channels=3, rng=seeded(seed)) for seed in (4, 4, 5)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_two_pictures_of_a_batch_are_alike():
    flat = draw_images(40, image_size=16, channels=3, rng=seeded(1)).flatten(1)
    apart = torch.cdist(flat, flat) + torch.eye(40) * 100
    assert apart.min() > 1.0


def test_neighbouring_pixels_are_alike_as_in_photographs_and_unlike_in_noise():
    images = draw_images(100, image_size=32, channels=3, rng=seeded(2))
    pixels, right = images[..., :-1].flatten(), images[..., 1:].flatten()
    assert torch.corrcoef(torch.stack([pixels, right]))[0, 1] > 0.85
    tops, shuffled = images[..., :-1].flatten(), images.flip(0)[..., 1:].flatten()
    assert torch.corrcoef(torch.stack([tops, shuffled]))[0, 1] < 0.2
