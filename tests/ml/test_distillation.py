import pytest
import torch
from torch.nn import functional as F

from ml.distillation import distillation_loss


def logits(seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(7, 4, generator=rng)).requires_grad_()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_is_torchs_kl_times_the_squared_temperature(temperature):
    student, teacher = logits(0), logits(1)
    reference = temperature**2 * F.kl_div(
        (student / temperature).log_softmax(1),
        (teacher / temperature).log_softmax(1),
        reduction="batchmean",
        log_target=True,
    )
    loss = distillation_loss(student, teacher, kind="kl", temperature=temperature)
    torch.testing.assert_close(loss, reference)


@pytest.mark.parametrize("kind", ["kl", "inner_product"])
def test_only_the_student_receives_a_gradient(kind):
    student, teacher = logits(0), logits(1)
    distillation_loss(student, teacher, kind=kind, temperature=1.0).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_kl_is_zero_only_for_equal_answers():
    teacher = logits(1)
    assert distillation_loss(teacher, teacher, kind="kl", temperature=2.0).abs() < 1e-6
    assert distillation_loss(logits(0), teacher, kind="kl", temperature=2.0) > 0


def test_the_published_loss_is_what_its_code_computes():
    """F.kl_div handed probabilities where it expects logarithms, mean over every element."""
    student, teacher = logits(0), logits(1)
    reference = F.kl_div(student.softmax(1), teacher.softmax(1), reduction="none").mean()
    loss = distillation_loss(student, teacher, kind="inner_product", temperature=1.0)
    torch.testing.assert_close(loss, reference)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="positive"):
        distillation_loss(logits(0), logits(1), kind="kl", temperature=0.0)
