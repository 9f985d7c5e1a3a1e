"""Losses by which a student learns from a teacher's answers.

Dims: B images, N ways.
"""

from typing import Literal

from torch import Tensor

from ml.shapes import Float

Distillation = Literal["kl", "inner_product"]


def distillation_loss(
    student: Float[Tensor, "b n"],
    teacher: Float[Tensor, "b n"],
    *,
    kind: Distillation,
    temperature: float,
) -> Float[Tensor, ""]:
    """How far the student's soft prediction is from the teacher's.

        "kl":             L = T^2 * KL( softmax(t / T) || softmax(s / T) )
        "inner_product":  L = (1/N) * sum_c t_c * (log t_c - s_c), probabilities, T = 1

    Source: Hinton, Vinyals & Dean 2015, section 2; T^2 keeps the gradient's scale independent of
    T. "inner_product" is what the published code of FREE computes by handing probabilities to a
    function that expects logarithms: its gradient to s is -t/N, so it maximises <s, t>.

    Args:
        student: logits; the only input that receives a gradient.
        teacher: logits of a frozen pool model; detached here.
        kind: which loss.
        temperature: T, dimensionless, > 0; only "kl" uses it.

    Returns:
        Mean over the batch, in nats.

    Raises:
        ValueError: if the temperature is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if kind == "inner_product":
        log_t = teacher.detach().log_softmax(dim=1)
        return (log_t.exp() * (log_t - student.softmax(dim=1))).mean()
    log_t = (teacher.detach() / temperature).log_softmax(dim=1)
    log_s = (student / temperature).log_softmax(dim=1)
    return temperature**2 * (log_t.exp() * (log_t - log_s)).sum(dim=1).mean()
