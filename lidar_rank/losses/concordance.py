"""Concordance loss: scores and overlaps that agree, beside any other loss."""

import torch
from torch import Tensor

from lidar_rank.labels import is_object
from lidar_rank.losses._common import (
    ClassificationLoss,
    classification_loss,
    own_entries,
    pack,
    positive_iou,
    reduce_groups,
    require_iou,
    to_groups,
)
from lidar_rank.losses._options import Reduction, Scope
from lidar_rank.losses._shapes import Bool, Float, Int

__all__ = ["ConcordanceLoss", "concordance_loss"]

LEAST_SPREAD = 1e-6  # of scores and overlaps that are all but equal


@classification_loss
def concordance_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    scope: Scope = "image",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""One minus the concordance of the scores s of a group's objects, at their own classes, and their overlaps y.

    .. math:: \ell = 1 - \frac{2 \, \mathrm{cov}(s, y)}{\sigma_s^2 + \sigma_y^2 + (\bar s - \bar y)^2}

    The overlaps are constants to the gradient. The loss knows no background: add it to another loss, with a
    ``loss_weight`` of 0.2 (:class:`lidar_rank.losses.SumLoss`).

    Source: Kahraman et al., "Correlation Loss: Enforcing Correlation between Classification and Localization", AAAI
    2023. Its authors take the objects of one pyramid level at a time; we take those of an image, of all levels.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Overlap of each object's regressed box, in [0, 1].
        level: Not used.
        scope: ``"image"`` or ``"batch"`` is one group.
        reduction: Over groups that have two objects or more: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: ``iou`` is missing, or an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> concordance_loss(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[0, 0]]), iou=torch.tensor([[0.9, 0.4]]))
        tensor(0.0913)
    """
    logits, labels, iou = to_groups(scope, logits, labels, require_iou("concordance_loss", iou))
    source, there = pack(is_object(labels, logits.shape[2]))
    score = logits.flatten(1).gather(1, own_entries(labels, source, logits.shape[2])).sigmoid()
    overlap = positive_iou(iou.detach().gather(1, source), there)
    number = there.sum(1).to(score.dtype)
    (score_mean, score_rest), (overlap_mean, overlap_rest) = (_centred(part, there) for part in (score, overlap))
    freedom = (number - 1).clamp(min=1)
    covariance = (score_rest * overlap_rest).sum(1) / freedom
    variances = (score_rest.square() + overlap_rest.square()).sum(1) / freedom
    spread = variances + (score_mean - overlap_mean).square()
    return reduce_groups(1 - 2 * covariance / spread.clamp(min=LEAST_SPREAD), number > 1, reduction)


class ConcordanceLoss(ClassificationLoss):
    """Module form of :func:`concordance_loss`."""

    function = staticmethod(concordance_loss)


def _centred(
    values: Float[Tensor, "group object"], there: Bool[Tensor, "group object"]
) -> tuple[Float[Tensor, " group"], Float[Tensor, "group object"]]:
    """Return the mean of each group's values that are there, and their differences from it, 0 elsewhere."""
    mean = torch.where(there, values, 0.0).sum(1) / there.sum(1).clamp(min=1)
    return mean, torch.where(there, values - mean[:, None], 0.0)
