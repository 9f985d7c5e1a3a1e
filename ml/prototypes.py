"""Classes as the means of their support features.

Dims: S support images, Q query images, N ways, D features.
"""

from torch import Tensor
from torch.nn import functional as F

from ml.shapes import Float, Int


def class_means(
    support_SD: Float[Tensor, "s d"], labels_S: Int[Tensor, " s"], n_way: int
) -> Float[Tensor, "n d"]:
    """The prototype of each class (Snell et al. 2017, Eq. 1); every class needs an image."""
    one_hot_SN = F.one_hot(labels_S, n_way).to(support_SD.dtype)
    return (one_hot_SN / one_hot_SN.sum(dim=0)).T @ support_SD


def prototype_logits(
    support_SD: Float[Tensor, "s d"],
    labels_S: Int[Tensor, " s"],
    query_QD: Float[Tensor, "q d"],
    n_way: int,
) -> Float[Tensor, "q n"]:
    """Minus the squared distance to each class mean (Snell et al. 2017, Eq. 2)."""
    return nearness(query_QD, class_means(support_SD, labels_S, n_way))


def nearness(
    query_QD: Float[Tensor, "q d"], prototypes_ND: Float[Tensor, "n d"]
) -> Float[Tensor, "q n"]:
    """Minus the squared distance to each prototype.

    Written as 2 q.p - |p|^2 - |q|^2, so that its gradient is finite where a query is a mean.
    """
    cross_QN = query_QD @ prototypes_ND.T
    norms_N = prototypes_ND.square().sum(dim=1)
    return 2 * cross_QN - norms_N - query_QD.square().sum(dim=1, keepdim=True)
