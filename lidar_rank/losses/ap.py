"""AP loss: average precision itself, trained by the errors of a ranking instead of a derivative."""

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
    take_highest,
    to_groups,
    with_gradient,
)
from lidar_rank.losses._options import Positive, Reduction, Scope
from lidar_rank.losses._pairs import truncated_power_sums
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
    :math:`H(x_j - x_i) / FP_i` of it. Sums are taken by sorting, in O((N + P) log N), without a loop over positives.

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
    source, is_pos = pack(is_object(labels, classes))
    pos = entries.gather(1, own_entries(labels, source, classes))
    # No negative further than delta below the lowest positive takes part.
    lowest = torch.where(is_pos, pos.detach(), -ABSENT).amin(1, keepdim=True)
    involved = negative_entries(labels, classes).flatten(1) & (entries > lowest - delta)
    neg, is_neg, _ = take_highest(entries, involved, involved.sum(1))
    loss, slopes = _errors(pos.detach(), is_pos, neg.detach(), is_neg, delta, interpolate)
    return reduce_groups(with_gradient(loss, (pos, neg), slopes), is_pos.any(1), reduction)


class APLoss(ClassificationLoss):
    """Module form of :func:`ap_loss`."""

    function = staticmethod(ap_loss)


def _errors(
    pos: Float[Tensor, "group positive"],
    is_pos: Bool[Tensor, "group positive"],
    neg: Float[Tensor, "group negative"],
    is_neg: Bool[Tensor, "group negative"],
    delta: float,
    interpolate: bool,
) -> tuple[Float[Tensor, " group"], tuple[Tensor, Tensor]]:
    """Return the loss and the pushes on positives and negatives."""
    pos_weight = is_pos.to(pos.dtype)
    false_positives = _number_above(pos, neg, is_neg.to(pos.dtype), delta) * pos_weight
    true_positives = _number_above(pos, pos, pos_weight, delta) + 0.5  # of itself a positive sees H(0) = 1 / 2
    error = false_positives / (false_positives + true_positives).clamp(min=0.5) * pos_weight
    if interpolate:
        order = torch.where(is_pos, pos, -ABSENT).argsort(1)
        best = torch.where(is_pos, 1 - error, 0.0).gather(1, order).cummax(1).values
        error = torch.zeros_like(error).scatter(1, order, 1 - best) * pos_weight
    share = torch.where(false_positives > 0, error / false_positives, 0.0)
    # H(x_j - x_i) seen from the negative j: the same sum with the sides exchanged.
    upper, lower = (truncated_power_sums(neg + shift, pos, share, 1) for shift in (delta, -delta))
    push = torch.where(is_neg, (upper - lower) / (2 * delta), 0.0)
    positives = pos_weight.sum(1).clamp(min=1)
    return error.sum(1) / positives, (-error / positives[:, None], push / positives[:, None])


def _number_above(
    of: Float[Tensor, "group query"],
    others: Float[Tensor, "group item"],
    weight: Float[Tensor, "group item"],
    delta: float,
) -> Float[Tensor, "group query"]:
    """``sum_j weight_j H(others_j - of_i)``; the step H is the difference of two ramps."""
    upper, lower = (truncated_power_sums(shift - of, -others, weight, 1) for shift in (delta, -delta))
    return ((upper - lower) / (2 * delta)).clamp(min=0)
