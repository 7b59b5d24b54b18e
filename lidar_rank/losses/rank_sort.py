"""RankSort loss: rank objects above background, and sort the objects by the overlap of their boxes."""

from typing import ClassVar

import torch
from torch import Tensor

from lidar_rank.labels import is_object
from lidar_rank.losses._common import (
    ClassificationLoss,
    classification_loss,
    negative_entries,
    own_entries,
    pack,
    positive_iou,
    reduce_groups,
    require_iou,
    take_highest,
    to_groups,
    with_gradient,
)
from lidar_rank.losses._options import Count, NonNegative, Reduction, Scope
from lidar_rank.losses._pairs import StepSums, soft_step
from lidar_rank.losses._shapes import Bool, Float, Int

__all__ = ["RankSortLoss", "rank_sort_loss"]

LEAST_QUALITY = 1e-6
MAX_POSITIVES = 4096
PAIR_ROWS = 256  # rows of pairs computed at once: bounds the memory


@classification_loss
def rank_sort_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    delta: NonNegative = 0.5,
    rank_weight: NonNegative = 1.0,
    sort_weight: NonNegative = 1.0,
    max_positives: Count = MAX_POSITIVES,
    scope: Scope = "batch",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Rank the objects of each group above all other entries, and sort them by the quality of their boxes.

    Over the P objects i, k with logit x and quality y, the overlap, and the negative entries j,

    .. math::
        \ell &= \frac{1}{P} \sum_i \Big( \frac{F_i}{R_i + F_i} + S_i - S_i^* \Big), \quad
        F_i = \sum_j H(x_j - x_i), \quad R_i = \sum_k H(x_k - x_i) \\
        S_i &= \frac{1}{R_i} \sum_k H(x_k - x_i) (1 - y_k), \quad
        S_i^* = \frac{\sum_k H(x_k - x_i) [y_k \ge y_i] (1 - y_k)}{\sum_k H(x_k - x_i) [y_k \ge y_i]}

    H is a step softened within :math:`\pm\delta`. An object counts itself with H(0), a half.

    The gradient is set by hand: object i is pushed up by both its errors; its rank error pushes each negative down by
    the share :math:`H(x_j - x_i) / F_i`, and its sort error pushes the objects that score higher and fit worse down in
    proportion to H. The rank error takes O((N + P) log P), the sort error O(P^2) time and O(P) memory.

    Source: Oksuz et al., "Rank & Sort Loss for Object Detection and Instance Segmentation", ICCV 2021, eq. 3 to 9. Who
    is an object is read from the labels; in the authors' code an object whose box overlaps nothing becomes background.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Overlap of each object's regressed box, in [0, 1]; a constant to the gradient.
        level: Not used.
        delta: Half width of the softened step, in logits, >= 0; with 0 the step is 1 from 0 on.
        rank_weight: Factor of the rank error, >= 0.
        sort_weight: Factor of the sort error, >= 0.
        max_positives: A group with more objects sorts those of highest score; all are ranked.
        scope: ``"batch"`` (the authors' code) or ``"image"`` is one ranking group.
        reduction: Over groups that have objects: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: ``iou`` is missing, or an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> labels, iou = torch.tensor([[0, 0, 1]]), torch.tensor([[0.9, 0.5, 0.0]])
        >>> rank_sort_loss(torch.tensor([[[2.0], [3.0], [-3.0]]]), labels, iou=iou)
        tensor(0.1333)
    """
    logits, labels, iou = to_groups(scope, logits, labels, require_iou("rank_sort_loss", iou))
    classes, entries = logits.shape[2], logits.flatten(1)
    source, there = pack(is_object(labels, classes))
    own = own_entries(labels, source, classes)
    logit = entries.detach().gather(1, own)
    is_negative = negative_entries(labels, classes).flatten(1)
    errors, push = _rank_errors(logit, there, StepSums(logit, there, entries, is_negative, delta), delta)
    loss, pull = rank_weight * errors.sum(1), -rank_weight * errors
    quality = positive_iou(iou.detach().gather(1, source), there).clamp(min=LEAST_QUALITY)
    logit, sorted_there, place = take_highest(logit, there, there.sum(1), max_positives)
    errors, slopes = _sort_errors(logit, quality.gather(1, place), sorted_there, delta)
    loss, pull = loss + sort_weight * errors, pull.scatter_add(1, place, sort_weight * slopes)
    gradient = push.mul_(rank_weight).scatter_add_(1, own, pull)
    positives = there.sum(1).clamp(min=1)
    loss = with_gradient(loss / positives, (entries,), (gradient.div_(positives[:, None]),))
    return reduce_groups(loss, there.any(1), reduction)


class RankSortLoss(ClassificationLoss):
    """Module form of :func:`rank_sort_loss`."""

    function = staticmethod(rank_sort_loss)
    prior_prob: ClassVar[float] = 0.5


def _rank_errors(
    logit: Float[Tensor, "group object"], there: Bool[Tensor, "group object"], negatives: StepSums, delta: float
) -> tuple[Float[Tensor, "group object"], Float[Tensor, "group entry"]]:
    """Return the rank error of each object, and the push on every entry, 0 at those that are not negative."""
    false_positives = torch.where(there, negatives.over_items(), 0.0)
    above = StepSums(logit, there, logit, there, delta).over_items()  # counts the object itself with H(0)
    errors = torch.where(false_positives > 0, false_positives / (above + false_positives), 0.0)
    share = torch.where(false_positives > 0, errors / false_positives, 0.0)
    return errors, negatives.over_bounds(share)


def _sort_errors(
    logit: Float[Tensor, "group object"],
    quality: Float[Tensor, "group object"],
    there: Bool[Tensor, "group object"],
    delta: float,
) -> tuple[Float[Tensor, " group"], Float[Tensor, "group object"]]:
    """Return the sum of the sort errors of each group, and the slope at each logit."""
    total, slopes = logit.new_zeros(len(logit)), torch.zeros_like(logit)
    cost = 1 - quality
    for start in range(0, logit.shape[1], PAIR_ROWS):
        row = slice(start, start + PAIR_ROWS)
        step = soft_step(logit[:, None] - logit[:, row, None], delta) * there[:, None] * there[:, row, None]
        fits_worse = quality[:, None] < quality[:, row, None]
        wrong = step * fits_worse
        right = step - wrong
        now = (step * cost[:, None]).sum(2) / step.sum(2).clamp(min=0.5)
        best = (right * cost[:, None]).sum(2) / right.sum(2).clamp(min=0.5)  # right holds the object itself
        number = wrong.sum(2)
        error = torch.where(number > 0, now - best, 0.0)
        share = torch.where(number > 0, error / number, 0.0)
        slopes = slopes + (share[:, :, None] * wrong).sum(1)
        slopes[:, row] -= error
        total = total + error.sum(1)
    return total, slopes
