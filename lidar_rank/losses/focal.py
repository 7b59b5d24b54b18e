"""Sigmoid focal loss: cross entropy that fades as an example becomes easy."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lidar_rank.labels import is_object
from lidar_rank.losses._common import (
    ClassificationLoss,
    classification_loss,
    has_candidates,
    reduce_entries,
    to_groups,
    truth_sign,
)
from lidar_rank.losses._options import Fraction, NonNegative, Reduction, Scope
from lidar_rank.losses._shapes import Float, Int

__all__ = ["SigmoidFocalLoss", "sigmoid_focal_loss"]


@classification_loss
def sigmoid_focal_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,  # noqa: ARG001
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    alpha: Fraction = 0.25,
    gamma: NonNegative = 2.0,
    scope: Scope = "batch",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Focal loss of every (candidate, class) entry over the number of positives.

    With :math:`p_t` the probability given to the truth,

    .. math:: \ell = \frac{1}{\max(P, 1)} \sum -\alpha_t (1 - p_t)^\gamma \log p_t

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Not used.
        level: Not used.
        alpha: Weight of positives, 1 - alpha that of negatives, within [0, 1].
        gamma: How fast easy examples fade, >= 0.
        scope: :math:`P` counts the positives of the ``"batch"``, that of all ranks (the usual normaliser of
            detectors), or of each ``"image"``.
        reduction: Over groups: ``"mean"``, ``"sum"`` or ``"none"``. The batch is one group.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> import torch
        >>> sigmoid_focal_loss(torch.tensor([[[0.0], [2.0]]]), torch.tensor([[0, 1]]))
        tensor(1.2809)
    """
    logits, labels = to_groups(scope, logits, labels)
    kept = (labels >= 0).unsqueeze(2).to(logits.dtype)
    loss = focal_terms(logits, truth_sign(labels, logits.shape[2], logits.dtype), kept, alpha, gamma)
    positives = is_object(labels, logits.shape[2]).sum(1)
    return reduce_entries(loss.sum((1, 2)), positives, has_candidates(labels), scope, reduction)


def focal_terms(
    logits: Float[Tensor, "group candidate class"],
    sign: Float[Tensor, "group candidate class"],
    weight: Float[Tensor, "group candidate #class"],
    alpha: float,
    gamma: float,
) -> Float[Tensor, "group candidate class"]:
    """Focal loss of every entry, times ``weight``; ``sign`` is -1 at positives."""
    share = sign.mul(0.5 - alpha).add_(0.5).mul_(weight)  # 1 - alpha where the sign is 1, alpha where it is -1
    return background_terms(logits * sign, share, gamma)


def background_terms(
    logits: Float[Tensor, "group candidate class"],
    weight: Float[Tensor, "group candidate #class"],
    gamma: float,
) -> Float[Tensor, "group candidate class"]:
    """Focal loss of every entry as background, times ``weight``."""
    return weight * safe_power(logits.sigmoid(), gamma) * F.softplus(logits)


def safe_power(base: Float[Tensor, "..."], exponent: float) -> Float[Tensor, "..."]:
    """``base ** exponent`` for a base >= 0; the slope of a power below 1 is infinite at 0, here it is 0 there."""
    if 0 < exponent < 1:
        base = base.clamp(min=torch.finfo(base.dtype).tiny)
    return base.pow(exponent)


class SigmoidFocalLoss(ClassificationLoss):
    """Module form of :func:`sigmoid_focal_loss`."""

    function = staticmethod(sigmoid_focal_loss)
