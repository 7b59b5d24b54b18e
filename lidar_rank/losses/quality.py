"""Quality focal loss and varifocal loss: the score learns to be the overlap of the box."""

from typing import Literal

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
    positive_iou,
    reduce_entries,
    require_iou,
    to_groups,
)
from lidar_rank.losses._options import Fraction, NonNegative, Reduction, Scope
from lidar_rank.losses._shapes import Bool, Float, Int
from lidar_rank.losses.focal import background_terms, safe_power

__all__ = ["QualityFocalLoss", "VarifocalLoss", "quality_focal_loss", "varifocal_loss"]

Target = Literal["linear", "rect"]


@classification_loss
def quality_focal_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    beta: NonNegative = 2.0,
    target: Target = "linear",
    min_quality: Fraction = 0.0,
    scope: Scope = "batch",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Cross entropy with the quality of the box as target, which fades as the score s comes near the target q.

    .. math:: \ell = \frac{1}{\max(P, 1)} \sum |q - s|^\beta \, \mathrm{BCE}(s, q)

    q is the quality of an object at its own class, a constant to the gradient, and 0 at every other entry. With
    q = 1 and beta = 2 this is the focal loss without alpha.

    Source: Li et al., "Generalized Focal Loss", NeurIPS 2020, eq. 5. An object whose box does not overlap it yet is
    trained as background there; ``min_quality`` prevents this, which rotated 3D boxes need early in training.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Overlap of each object's regressed box, in [0, 1].
        level: Not used.
        beta: How fast entries near their target fade, >= 0.
        target: q: ``"linear"``, the overlap, or ``"rect"``, 2 iou - 0.5 within [0, 1], which is 0 up to an overlap of
            0.25 and 1 from 0.75.
        min_quality: Least q of an object, within [0, 1].
        scope: :math:`P` counts the positives of the ``"batch"``, that of all ranks, or of each ``"image"``.
        reduction: Over groups: ``"mean"``, ``"sum"`` or ``"none"``. The batch is one group.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: ``iou`` is missing, or an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> quality_focal_loss(torch.tensor([[[2.0], [-1.0]]]), torch.tensor([[0, 1]]), iou=torch.tensor([[0.8, 0.0]]))
        tensor(0.0261)
    """
    logits, labels, iou = to_groups(scope, logits, labels, require_iou("quality_focal_loss", iou))
    own, quality, there = _objects(logits, labels, iou, target, min_quality)
    fading = safe_power((quality - own.sigmoid()).abs(), beta)
    object_loss = fading * F.binary_cross_entropy_with_logits(own, quality, reduction="none")
    negative = negative_entries(labels, logits.shape[2]).to(logits.dtype)
    loss = background_terms(logits, negative, beta).sum((1, 2)) + torch.where(there, object_loss, 0.0).sum(1)
    return reduce_entries(loss, there.sum(1), has_candidates(labels), scope, reduction)


class QualityFocalLoss(ClassificationLoss):
    """Module form of :func:`quality_focal_loss`."""

    function = staticmethod(quality_focal_loss)


@classification_loss
def varifocal_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    alpha: NonNegative = 0.75,
    gamma: NonNegative = 2.0,
    iou_weighted: bool = True,
    target: Target = "linear",
    min_quality: Fraction = 0.0,
    scope: Scope = "batch",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Cross entropy with the quality of the box as target and as weight; background fades as in focal loss.

    With score s, and quality q of an object at its own class, a constant to the gradient,

    .. math::
        \ell = \frac{1}{\max(P, 1)} \Big( \sum_{q > 0} q \, \mathrm{BCE}(s, q)
        + \sum_{q = 0} \alpha s^\gamma \, \mathrm{BCE}(s, 0) \Big)

    Source: Zhang et al., "VarifocalNet", CVPR 2021, eq. 2. An object of quality 0 is trained as background there;
    ``min_quality`` prevents this, which rotated 3D boxes need early in training.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Overlap of each object's regressed box, in [0, 1].
        level: Not used.
        alpha: Weight of background, >= 0.
        gamma: How fast easy background fades, >= 0. The gradient passes through this factor.
        iou_weighted: False gives every object the weight 1.
        target: q, as in :func:`quality_focal_loss`.
        min_quality: Least q of an object, within [0, 1].
        scope: :math:`P` counts the positives of the ``"batch"``, that of all ranks, or of each ``"image"``.
        reduction: Over groups: ``"mean"``, ``"sum"`` or ``"none"``. The batch is one group.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: ``iou`` is missing, or an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> varifocal_loss(torch.tensor([[[2.0], [-1.0]]]), torch.tensor([[0, 1]]), iou=torch.tensor([[0.8, 0.0]]))
        tensor(0.4385)
    """
    logits, labels, iou = to_groups(scope, logits, labels, require_iou("varifocal_loss", iou))
    own, quality, there = _objects(logits, labels, iou, target, min_quality)
    weight = quality if iou_weighted else torch.ones_like(quality)
    weight = torch.where(quality > 0, weight, alpha * safe_power(own.sigmoid(), gamma))
    object_loss = weight * F.binary_cross_entropy_with_logits(own, quality, reduction="none")
    negative = negative_entries(labels, logits.shape[2]).to(logits.dtype).mul_(alpha)
    loss = background_terms(logits, negative, gamma).sum((1, 2)) + torch.where(there, object_loss, 0.0).sum(1)
    return reduce_entries(loss, there.sum(1), has_candidates(labels), scope, reduction)


class VarifocalLoss(ClassificationLoss):
    """Module form of :func:`varifocal_loss`."""

    function = staticmethod(varifocal_loss)


def _objects(
    logits: Float[Tensor, "group candidate class"],
    labels: Int[Tensor, "group candidate"],
    iou: Float[Tensor, "group candidate"],
    target: Target,
    min_quality: float,
) -> tuple[Float[Tensor, "group room"], Float[Tensor, "group room"], Bool[Tensor, "group room"]]:
    """Return the logit of each object at its own class, its quality, and which places hold an object."""
    source, there = pack(is_object(labels, logits.shape[2]))
    own = logits.flatten(1).gather(1, own_entries(labels, source, logits.shape[2]))
    quality = positive_iou(iou.detach().gather(1, source), there)
    quality = quality if target == "linear" else (2 * quality - 0.5).clamp(0, 1)
    return own, quality.clamp(min=min_quality), there
