"""Online hard example mining: cross entropy of the positives and of the hardest negatives alone."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from lidar_rank.labels import is_object
from lidar_rank.losses._common import (
    ClassificationLoss,
    classification_loss,
    has_candidates,
    negative_entries,
    own_entries,
    pack,
    reduce_groups,
    take_highest,
    to_groups,
)
from lidar_rank.losses._options import Positive, Range, Reduction, Scope
from lidar_rank.losses._shapes import Float, Int

__all__ = ["OHEMLoss", "ohem_loss"]


@classification_loss
def ohem_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,  # noqa: ARG001
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    ratio: Positive = 3.0,
    min_negatives: Annotated[int, Range(0)] = 100,
    scope: Scope = "image",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Cross entropy of each group's positives and of the ratio x P negatives with the highest scores, over P.

    A group without positives keeps ``min_negatives`` and divides by ``min_negatives / ratio``, so that its negatives
    weigh what they would beside as many positives as belong to them; with 0 it has no loss, as in SSD.

    Source: Liu et al., "SSD", ECCV 2016, section 2.2, on the sigmoid entries of each (candidate, class).

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Not used.
        level: Not used.
        ratio: Negatives kept per positive, > 0.
        min_negatives: Negatives kept without positives, >= 0.
        scope: ``"image"`` or ``"batch"`` is mined as one.
        reduction: Over groups that have a candidate: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> ohem_loss(torch.tensor([[[0.0], [2.0], [-9.0]]]), torch.tensor([[0, 1, 1]]), ratio=1)
        tensor(2.8201)
    """
    logits, labels = to_groups(scope, logits, labels)
    classes, entries = logits.shape[2], logits.flatten(1)
    source, object_ = pack(is_object(labels, classes))
    pos = entries.gather(1, own_entries(labels, source, classes))
    positives = object_.sum(1)
    quota = torch.where(positives > 0, (ratio * positives).long(), min_negatives)
    hardest, kept, _ = take_highest(entries, negative_entries(labels, classes).flatten(1), quota)
    loss = torch.where(object_, F.softplus(-pos), 0.0).sum(1) + torch.where(kept, F.softplus(hardest), 0.0).sum(1)
    weight = torch.where(positives > 0, positives.to(loss.dtype), max(min_negatives / ratio, 1.0))
    return reduce_groups(loss / weight, has_candidates(labels), reduction)


class OHEMLoss(ClassificationLoss):
    """Module form of :func:`ohem_loss`."""

    function = staticmethod(ohem_loss)
