"""FIve for many tasks in one computation: stacked teachers, one fast generator each.

What recover_task does one task after the other, with the same draws and the same numbers up to
rounding. Worth it where one task does not fill the device: on a GPU. On a CPU convolutions with
weights of their own per task are slower than a loop (docs/RESULTS.md).

Dims: T tasks, B images of a task, N ways, Z latent, C channels, S side length, P candidates.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ml.functional import Params, reptile_gradient, summed
from ml.inversion.generator import Generator
from ml.inversion.precision import computing_in
from ml.inversion.recover import (
    REPTILE_SCALE,
    Draws,
    Recovery,
    RecoveryConfig,
    Student,
    as_gradient,
    augmented,
    conditioned,
    decayed_step,
    draw,
    fast_adam,
    inversion_loss,
    student_opinion,
    surest,
)
from ml.inversion.statistics import batch_norm_gaps
from ml.shapes import Float, Int
from ml.types import Teacher, fit_images, normalize


def recover_tasks(
    teachers: Sequence[Teacher],
    classes: Sequence[Sequence[int]],
    generator: Generator,
    phi: Params,
    config: RecoveryConfig,
    *,
    student: Student | None,
    rng: torch.Generator,
) -> list[Recovery]:
    """Recover one task of each teacher; those of one form are computed together.

    Args:
        teachers: one per task; a teacher may come twice.
        classes: for each task, indices into its teacher's outputs.
        generator: as recover_task takes it; so are the others.
        phi: the meta-generator's parameters.
        config: steps, sizes, weights.
        student: the meta-learner for L_adv, or None.
        rng: the only source of randomness.

    Returns:
        What recover_task would have returned for each, in order.
    """
    n_images = [len(chosen) * config.images_per_class for chosen in classes]
    draws = [draw(n, config, rng) for n in n_images]
    groups: dict[object, list[int]] = {}
    for i, teacher in enumerate(teachers):
        groups.setdefault((form_of(teacher), len(classes[i])), []).append(i)
    recovered: dict[int, Recovery] = {}
    for members in groups.values():
        stack = TeacherStack([teachers[i] for i in members], [classes[i] for i in members])
        own = [draws[i] for i in members]
        results = recover_stack(stack, generator, phi, config, own, student=student)
        recovered |= dict(zip(members, results, strict=True))
    return [recovered[i] for i in range(len(teachers))]


def form_of(teacher: Teacher) -> object:
    """Equal for teachers whose networks differ in nothing but their numbers."""
    return (
        teacher.backbone,
        repr(teacher.module),
        teacher.image_size,
        teacher.channels,
        teacher.mean,
        teacher.std,
    )


class TeacherStack:
    """Teachers of one form as one function with a leading dimension."""

    def __init__(self, teachers: Sequence[Teacher], classes: Sequence[Sequence[int]]) -> None:
        self.first = teachers[0]
        modules = [teacher.module for teacher in teachers]
        self._params, self._buffers = stack_module_state(modules)
        device = next(iter(self._params.values())).device
        self.classes = torch.tensor([list(chosen) for chosen in classes], device=device)

    def __len__(self) -> int:
        return len(self.classes)

    def answer(
        self, images: Float[Tensor, "t b c s s"], *, with_gaps: bool
    ) -> tuple[Float[Tensor, "t b n"], Float[Tensor, " t"]]:
        """Logits of each task's classes, and the sum of BatchNorm gaps (zeros if not asked for)."""
        teacher, module = self.first, self.first.module
        flat = fit_images(images.flatten(0, 1), size=teacher.image_size, channels=teacher.channels)
        seen = normalize(flat, teacher.mean, teacher.std).reshape(
            *images.shape[:2], *flat.shape[1:]
        )

        def one(
            params: Params, buffers: Params, x: Tensor, columns: Tensor
        ) -> tuple[Tensor, Tensor]:
            with ExitStack() as stack:
                gaps = stack.enter_context(batch_norm_gaps(module)) if with_gaps else []
                logits: Tensor = functional_call(module, (params, buffers), (x,))
                gap = torch.stack(gaps).sum() if gaps else x.new_zeros(())
            return logits.index_select(1, columns), gap

        logits, gaps = vmap(one)(self._params, self._buffers, seen, self.classes)
        return logits, gaps


def paint(
    generator: nn.Module, params: Params, z: Float[Tensor, "t b z"], *, shared: bool
) -> Float[Tensor, "t b c s s"]:
    """Each task's images from its own parameters, or from the ones all tasks share."""

    def one(own: Params, latents: Tensor) -> Tensor:
        painted: Tensor = functional_call(generator, own, (latents,), {"channels_last": False})
        return painted

    images: Tensor = vmap(one, in_dims=(None if shared else 0, 0))(params, z)
    return images


def recover_stack(
    stack: TeacherStack,
    generator: Generator,
    phi: Params,
    config: RecoveryConfig,
    draws: Sequence[Draws],
    *,
    student: Student | None,
) -> list[Recovery]:
    """The inner loop over T tasks of one form; the sum of their losses is stepped along."""
    device, n_way = stack.classes.device, stack.classes.shape[1]
    labels = torch.arange(n_way, device=device).repeat(config.images_per_class)
    fast = {
        n: p.detach().unsqueeze(0).repeat(len(stack), *[1] * p.dim()).requires_grad_()
        for n, p in phi.items()
    }
    z = first_latents(stack, generator, phi, config, draws, labels).requires_grad_()
    adam = fast_adam(fast, z, config)
    met: list[Params] = []
    for step in range(config.steps):
        with computing_in(config.precision, device):
            images = paint(generator, fast, with_labels(z, labels, config), shared=False)
            seen = torch.stack(
                [
                    augmented(own, d.shifts[step], config)
                    for own, d in zip(images, draws, strict=True)
                ]
            )
            t, gaps = stack.answer(seen, with_gaps=bool(config.bn_weight))
        losses = losses_of(t.float(), gaps, labels, seen, config, student=student)
        adam.zero_grad(set_to_none=True)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        if config.accumulate == "all" or step == config.steps - 1:
            met.append({n: as_gradient(p).clone() for n, p in fast.items()})
        decayed_step(adam, step, config)
    reptile = config.accumulate == "reptile"
    slopes = reptile_gradient(phi, fast, scale=REPTILE_SCALE) if reptile else summed(met)
    right = (t.argmax(dim=2) == labels).float().mean(dim=1)
    return [
        Recovery(
            images=images[i].detach().float(),
            labels=labels,
            meta_gradient={n: g[i] for n, g in slopes.items()},
            loss=loss,
            accuracy=accuracy,
        )
        for i, (loss, accuracy) in enumerate(
            zip(losses.detach().tolist(), right.tolist(), strict=True)
        )
    ]


def with_labels(
    z: Float[Tensor, "t b z"], labels: Int[Tensor, " b"], config: RecoveryConfig
) -> Float[Tensor, "t b z2"]:
    """Each task's latents as the generator takes them."""
    flat = conditioned(z.flatten(0, 1), labels.repeat(len(z)), config)
    return flat.reshape(*z.shape[:2], -1)


def losses_of(
    t: Float[Tensor, "t b n"],
    gaps: Float[Tensor, " t"],
    labels: Int[Tensor, " b"],
    seen: Float[Tensor, "t b c s s"],
    config: RecoveryConfig,
    *,
    student: Student | None,
) -> Float[Tensor, " t"]:
    """inversion_loss of each task."""

    def one(logits: Tensor, gap: Tensor, x: Tensor) -> Tensor:
        opinion = student_opinion(student, x, logits.shape[1], config)
        return inversion_loss(logits, labels, opinion, gap if config.bn_weight else None, config)

    losses: Tensor = vmap(one)(t, gaps, seen.detach())
    return losses


@torch.no_grad()
def first_latents(
    stack: TeacherStack,
    generator: Generator,
    phi: Params,
    config: RecoveryConfig,
    draws: Sequence[Draws],
    labels: Int[Tensor, " b"],
) -> Float[Tensor, "t b z"]:
    """As drawn, or of more candidates those that each task's teacher is surest of."""
    latents = torch.stack([drawn.latents for drawn in draws]).to(labels.device)
    if config.candidates == 1:
        return latents
    certainty = []
    with computing_in(config.precision, labels.device):
        for z in torch.split(latents, len(labels), dim=1):
            images = paint(generator, phi, with_labels(z, labels, config), shared=True)
            logits, _ = stack.answer(images, with_gaps=False)
            certainty.append(logits.float().log_softmax(dim=2))
    scores = torch.cat(certainty, dim=1)
    rows = [surest(own, labels) for own in scores]
    return torch.stack([own[chosen] for own, chosen in zip(latents, rows, strict=True)])
