"""AP loss: average precision itself, trained by the errors of a ranking instead of a derivative."""

from typing import ClassVar

import torch
from torch import Tensor

from lidar_rank.labels import is_object
from lidar_rank.losses._common import (
    ABSENT,
    ClassificationLoss,
    classification_loss,
    negative_entries,
    own_entries,
    pack,
    reduce_groups,
    to_groups,
    with_gradient,
)
from lidar_rank.losses._options import Positive, Reduction, Scope
from lidar_rank.losses._pairs import StepSums
from lidar_rank.losses._shapes import Bool, Float, Int

__all__ = ["APLoss", "ap_loss"]


@classification_loss
def ap_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,  # noqa: ARG001
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    delta: Positive = 1.0,
    interpolate: bool = True,
    scope: Scope = "batch",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""One minus the average precision of each group's entries, ranked by their logits.

    With :math:`H(x) = \min(\max(x / 2\delta + 1/2, 0), 1)`, a step softened within :math:`\pm\delta`,

    .. math::
        \ell = \frac{1}{P} \sum_i \frac{FP_i}{TP_i + FP_i}, \quad FP_i = \sum_{j \in neg} H(x_j - x_i), \quad
        TP_i = 1 + \sum_{k \in pos, k \ne i} H(x_k - x_i)

    The gradient is the errors themselves: positive i is pushed up by its term, and each negative down by its share
    :math:`H(x_j - x_i) / FP_i` of it. Sums are taken by sorting the positives, in O((N + P) log P), without a loop over
    them.

    Source: Chen et al., "Towards Accurate One-Stage Object Detection with AP-Loss", CVPR 2019. It ranks the batch as
    one, so that scores of different images stay comparable.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Not used.
        level: Not used.
        delta: Half width of the softened step, in logits, > 0.
        interpolate: A positive counts with the best precision among the positives of no higher score, as in the usual
            evaluation of AP.
        scope: ``"batch"`` or ``"image"`` is one ranking group.
        reduction: Over groups that have positives: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> ap_loss(torch.tensor([[[0.0], [3.0], [-3.0]]]), torch.tensor([[0, 1, 1]]))
        tensor(0.5000)
    """
    logits, labels = to_groups(scope, logits, labels)
    classes, entries = logits.shape[2], logits.flatten(1)
    source, there = pack(is_object(labels, classes))
    own = own_entries(labels, source, classes)
    logit = entries.detach().gather(1, own)
    negatives = StepSums(logit, there, entries, negative_entries(labels, classes).flatten(1), delta)
    false_positives = torch.where(there, negatives.over_items(), 0.0)
    true_positives = StepSums(logit, there, logit, there, delta).over_items() + 0.5  # it saw itself with H(0) = 1 / 2
    error = torch.where(there, false_positives / (false_positives + true_positives).clamp(min=0.5), 0.0)
    if interpolate:
        error = _interpolated(error, logit, there)
    push = negatives.over_bounds(torch.where(false_positives > 0, error / false_positives, 0.0))
    positives = there.sum(1).clamp(min=1)
    gradient = push.scatter_add_(1, own, -error).div_(positives[:, None])
    loss = with_gradient(error.sum(1) / positives, (entries,), (gradient,))
    return reduce_groups(loss, there.any(1), reduction)


class APLoss(ClassificationLoss):
    """Module form of :func:`ap_loss`."""

    function = staticmethod(ap_loss)
    prior_prob: ClassVar[float] = 0.5


def _interpolated(
    error: Float[Tensor, "group positive"],
    logit: Float[Tensor, "group positive"],
    there: Bool[Tensor, "group positive"],
) -> Float[Tensor, "group positive"]:
    """Return the least error among the positives of no higher logit."""
    order = torch.where(there, logit, ABSENT).argsort(1)
    best = torch.where(there, 1 - error, 0.0).gather(1, order).cummax(1).values
    return torch.where(there, torch.zeros_like(error).scatter(1, order, 1 - best), 0.0)
