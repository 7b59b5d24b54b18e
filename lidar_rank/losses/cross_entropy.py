"""Binary cross entropy of every class: the loss that the others re-weight or replace."""

from torch import Tensor
from torch.nn import functional as F

from lidar_rank.losses._common import (
    ClassificationLoss,
    classification_loss,
    reduce_entries,
    to_groups,
    truth_sign,
)
from lidar_rank.losses._options import Reduction, Scope
from lidar_rank.losses._shapes import Float, Int

__all__ = ["BinaryCrossEntropyLoss", "cross_entropy_loss"]


@classification_loss
def cross_entropy_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,  # noqa: ARG001
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    scope: Scope = "batch",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Mean of :math:`-\log p_t` over the (candidate, class) entries of candidates that are not ignored.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Not used.
        level: Not used.
        scope: The mean is over the ``"batch"``, that of all ranks, or over each ``"image"``.
        reduction: Over groups: ``"mean"``, ``"sum"`` or ``"none"``. The batch is one group.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> import torch
        >>> cross_entropy_loss(torch.tensor([[[0.0], [2.0]]]), torch.tensor([[0, 1]]))
        tensor(1.4100)
    """
    logits, labels = to_groups(scope, logits, labels)
    kept = (labels >= 0).unsqueeze(2).to(logits.dtype)
    loss = cross_entropy_terms(logits, truth_sign(labels, logits.shape[2], logits.dtype), kept)
    candidates = (labels >= 0).sum(1)
    return reduce_entries(loss.sum((1, 2)), candidates * logits.shape[2], candidates > 0, scope, reduction)


def cross_entropy_terms(
    logits: Float[Tensor, "group candidate class"],
    sign: Float[Tensor, "group candidate class"],
    weight: Float[Tensor, "group candidate #class"],
) -> Float[Tensor, "group candidate class"]:
    """Cross entropy of every entry, times ``weight``; ``sign`` is -1 at positives."""
    return weight * F.softplus(logits * sign)


class BinaryCrossEntropyLoss(ClassificationLoss):
    """Module form of :func:`cross_entropy_loss`."""

    function = staticmethod(cross_entropy_loss)
