"""Networks as functions of their parameters: fast weights, meta-gradients, meta-optimisers.

No module is ever written to: a module says what is computed, a dict of tensors says with what.
Everything here runs BatchNorm on the statistics of the batch it sees, as the published
meta-learners do in training and in testing (methods: transductive BatchNorm).

Dims: T tasks, P parameters of a network, flattened.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

Params = dict[str, Tensor]


Network = TypeVar("Network", bound=nn.Module)


def batch_normalised(module: Network) -> Network:
    """Make every BatchNorm of a freshly built module use the batch it sees; returns the module.

    Running statistics are dropped, so the module has no state that a forward pass could change.
    """
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    return module.requires_grad_(requires_grad=False)


class ComposedBatchNorm(nn.Module):
    """BatchNorm over the batch it sees, written out: (x - mean) / sqrt(var + eps) * weight + bias.

    torch.func.vmap of torch's own BatchNorm gives wrong second derivatives, without an error
    (torch 2.15; tests/ml/test_functional.py shows it).
    """

    def __init__(self, like: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = like.weight, like.bias, like.eps

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), normalised per channel."""
        variance, mean = torch.var_mean(images, dim=(0, 2, 3), correction=0, keepdim=True)
        unit = (images - mean) * torch.rsqrt(variance + self.eps)
        return unit * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


def norms_composed(module: Network) -> Network:
    """Write out every BatchNorm of a network, in place, for second derivatives under vmap."""
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            module.set_submodule(name, ComposedBatchNorm(layer))
    return module


def parameters_of(module: nn.Module, device: torch.device) -> Params:
    """Copies of a module's parameters on a device, by name."""
    return {name: p.detach().to(device, copy=True) for name, p in module.named_parameters()}


def leaves(params: Mapping[str, Tensor]) -> Params:
    """Copies that receive gradients and share nothing with the originals: fast weights."""
    return {name: p.detach().clone().requires_grad_() for name, p in params.items()}


def apply(module: nn.Module, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """The module's answer to inputs, computed with these parameters instead of its own."""
    answer: Tensor = functional_call(module, dict(params), (inputs,))
    return answer


def gradients(loss: Tensor, params: Mapping[str, Tensor], *, keep_graph: bool = False) -> Params:
    """dL/dp for every parameter; zeros for those the loss does not depend on.

    Args:
        loss: a scalar.
        params: tensors that require gradients.
        keep_graph: whether the gradients can themselves be differentiated.
    """
    found = torch.autograd.grad(
        loss,
        tuple(params.values()),
        create_graph=keep_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    return dict(zip(params, found, strict=True))


def inner_step(
    params: Mapping[str, Tensor], loss: Tensor, *, lr: float, second_order: bool
) -> Params:
    """One differentiable step: theta' = theta - lr * dL/dtheta (Finn et al. 2017, section 2.2)."""
    slopes = gradients(loss, params, keep_graph=second_order)
    return {name: p - lr * slopes[name] for name, p in params.items()}


def adapt(
    params: Mapping[str, Tensor],
    loss_of: Callable[[Params], Tensor],
    *,
    steps: int,
    lr: float,
    second_order: bool,
) -> Params:
    """Several inner steps on one loss (Finn et al. 2017, algorithm 2).

    Args:
        params: where to start; gradients flow back to it (to first order or in full).
        loss_of: the loss at given parameters.
        steps: number of inner steps, >= 0.
        lr: inner learning rate, dimensionless.
        second_order: whether the path's own dependence on params is differentiated.

    Returns:
        The adapted parameters.
    """
    adapted = dict(params)
    for _ in range(steps):
        adapted = inner_step(adapted, loss_of(adapted), lr=lr, second_order=second_order)
    return adapted


def summed(parts: Sequence[Mapping[str, Tensor]]) -> Params:
    """Sum of several gradients, name by name."""
    return {name: torch.stack([part[name] for part in parts]).sum(dim=0) for name in parts[0]}


def reptile_gradient(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], *, scale: float
) -> Params:
    """Outer gradient of Reptile: scale * (theta - theta') (Nichol et al. 2018, section 3).

    With SGD inner steps of size a over T tasks in random order, theta - theta' is in expectation
    a * (sum_i g_i - (a/2) * sum_{i<j} grad <g_i, g_j>) + O(a^3): descending it also raises the
    inner products of task gradients. That is how FREE's BelL aligns them without a Hessian.
    """
    return {name: scale * (start[name] - end[name]).detach() for name in start}


@torch.no_grad()
def gradient_alignment(task_gradients: Sequence[Mapping[str, Tensor]]) -> float:
    """Mean pairwise cosine of the tasks' gradients, -1 to 1; 1 for fewer than two tasks."""
    if len(task_gradients) < 2:
        return 1.0
    flat_TP = torch.stack([torch.cat([g.flatten() for g in t.values()]) for t in task_gradients])
    unit_TP = torch.nn.functional.normalize(flat_TP, dim=1)
    n_tasks = len(task_gradients)
    total = (unit_TP @ unit_TP.T).sum() - unit_TP.square().sum()
    return float(total) / (n_tasks * (n_tasks - 1))


MetaOptimizerKind = Literal["persistent_adam", "fresh_adam", "sgd"]


class MetaOptimizer:
    """Descends in meta-parameters that no module owns; its moments can be saved and restored."""

    def __init__(
        self,
        params: Mapping[str, Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        kind: MetaOptimizerKind = "persistent_adam",
    ) -> None:
        """Take copies of params.

        Args:
            params: where to start.
            lr: step size.
            betas: decay of Adam's two moments.
            kind: Adam; an Adam that forgets its moments at each step, which makes it
                lr * sign(gradient), what the published code of FREE does; or plain SGD.
        """
        self.params = leaves(params)
        self._lr, self._betas, self._kind = lr, betas, kind
        self._optimizer = self._new_optimizer()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        values = list(self.params.values())
        if self._kind == "sgd":
            return torch.optim.SGD(values, lr=self._lr)
        return torch.optim.Adam(values, lr=self._lr, betas=self._betas)

    def step(self, slopes: Mapping[str, Tensor], *, lr: float | None = None) -> None:
        """Move the meta-parameters against a gradient, in place; lr stands in for the usual one."""
        if lr is not None:
            self._lr = self._optimizer.param_groups[0]["lr"] = lr
        if self._kind == "fresh_adam":
            self._optimizer = self._new_optimizer()
        for name, p in self.params.items():
            p.grad = slopes[name].detach()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> Params:
        """Copies of the parameters and the optimiser's moments, by name."""
        tensors = {f"param/{name}": p.detach().cpu().clone() for name, p in self.params.items()}
        for name, p in self.params.items():
            for key, value in self._optimizer.state.get(p, {}).items():
                tensors[f"{key}/{name}"] = value.detach().cpu().clone()
        return tensors

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave; the next step is then the one it would have made."""
        self._optimizer = self._new_optimizer()
        for name, p in self.params.items():
            p.copy_(tensors[f"param/{name}"])
            moments = {
                key.removesuffix(f"/{name}"): value
                for key, value in tensors.items()
                if key.endswith(f"/{name}") and key.count("/") == 1 and not key.startswith("param/")
            }
            if moments:
                self._optimizer.state[p] = {
                    key: value.clone() if key == "step" else value.to(p.device, copy=True)
                    for key, value in moments.items()
                }
