"""IoU-balanced losses: well-placed boxes weigh more, in classification and in localization."""

from typing import Any, Literal

import torch
from torch import Tensor

from lidar_rank.labels import is_object
from lidar_rank.losses._common import (
    Boxes,
    ClassificationLoss,
    LocalizationLoss,
    classification_loss,
    has_candidates,
    localization_loss,
    mean_over_ranks,
    own_entries,
    pack,
    positive_iou,
    reduce_entries,
    reduce_rows,
    require_iou,
    set_buffers,
    to_groups,
    truth_sign,
)
from lidar_rank.losses._options import Fraction, NonNegative, Positive, Reduction, Scope, checks_options
from lidar_rank.losses._shapes import Float, Int
from lidar_rank.losses.cross_entropy import cross_entropy_terms
from lidar_rank.losses.focal import focal_terms
from lidar_rank.losses.l1 import smooth_l1_terms

__all__ = ["IoUBalancedClsLoss", "IoUBalancedLocLoss", "iou_balanced_cls_loss", "iou_balanced_loc_loss"]

VANISHED = 1e-6  # overlaps whose weighted loss is a smaller share than this of the loss say nothing: weights are 1


@classification_loss
def iou_balanced_cls_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    exponent: NonNegative = 1.5,
    base: Literal["focal", "ce"] = "focal",
    alpha: Fraction = 0.25,
    gamma: NonNegative = 2.0,
    scope: Scope = "batch",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Classification loss in which a positive weighs by the overlap of its regressed box.

    .. math::
        \ell = \sum_{pos} w_i \ell_i + \sum_{neg} \ell_i, \quad
        w_i = iou_i^\eta \frac{\sum_{pos} \ell_j}{\sum_{pos} iou_j^\eta \ell_j}

    The positives keep their sum; w is a constant to the gradient. If all overlaps vanish, w is 1 (the authors' code
    then gives the positives no loss at all).

    Source: Wu et al., "IoU-balanced Loss Functions for Single-stage Object Detection", arXiv:1908.05641.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Overlap of each object's regressed box, in [0, 1].
        level: Not used.
        exponent: :math:`\eta`, >= 0; 0 is the base loss.
        base: :math:`\ell_i`: ``"focal"`` (one-stage detectors), over the number of positives, or ``"ce"``, over the
            number of entries.
        alpha: Of the focal loss.
        gamma: Of the focal loss.
        scope: w and the loss are normalised over the ``"batch"``, that of all ranks (the authors' code), or over each
            ``"image"``.
        reduction: Over groups: ``"mean"``, ``"sum"`` or ``"none"``. The batch is one group.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: ``iou`` is missing, or an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> iou_balanced_cls_loss(torch.zeros(1, 2, 1), torch.tensor([[0, 1]]), iou=torch.tensor([[0.8, 0.0]]))
        tensor(0.1733)
    """
    logits, labels, iou = to_groups(scope, logits, labels, require_iou("iou_balanced_cls_loss", iou))
    classes = logits.shape[2]

    def terms(scores: Tensor, sign: Tensor, weight: Tensor) -> Tensor:
        if base == "ce":
            return cross_entropy_terms(scores, sign, weight)
        return focal_terms(scores, sign, weight, alpha, gamma)

    source, object_ = pack(is_object(labels, classes))
    own = own_entries(labels, source, classes)
    own_logits, there = logits.detach().flatten(1).gather(1, own).unsqueeze(2), object_.unsqueeze(2)
    own_loss = terms(own_logits, -torch.ones_like(own_logits), there.to(logits.dtype)).squeeze(2)
    overlap = positive_iou(iou.detach().gather(1, source), object_)
    own_weight = balanced_weights(overlap.pow(exponent), own_loss, scope)
    # Entries weigh 1, those of ignored candidates 0, and positives their own weight.
    weight = (labels >= 0).unsqueeze(2).expand_as(logits).to(logits.dtype).flatten(1)
    weight = weight.scatter_add_(1, own, (own_weight - 1) * object_).view_as(logits)
    loss = terms(logits, truth_sign(labels, classes, logits.dtype), weight).sum((1, 2))
    number = object_.sum(1) if base == "focal" else (labels >= 0).sum(1) * classes
    return reduce_entries(loss, number, has_candidates(labels), scope, reduction)


class IoUBalancedClsLoss(ClassificationLoss):
    """Module form of :func:`iou_balanced_cls_loss`."""

    function = staticmethod(iou_balanced_cls_loss)


def balanced_weights(
    power: Float[Tensor, "group item"], loss: Float[Tensor, "group item"], scope: Scope
) -> Float[Tensor, "group item"]:
    """Scale ``power`` so that weighting ``loss`` with it keeps the sum of each group; 1 if it would vanish.

    With ``scope="batch"`` the one group goes on in the batches of the other ranks.
    """
    sums = torch.cat([loss.sum(1, keepdim=True), (power * loss).sum(1, keepdim=True)], 1)
    sums = mean_over_ranks(sums) if scope == "batch" else sums
    before, after = sums[:, :1], sums[:, 1:]
    usable = after > VANISHED * before
    return torch.where(usable, power * (before / torch.where(usable, after, 1.0)), 1.0)


@localization_loss
def iou_balanced_loc_loss(
    pred: Float[Tensor, "positive dimension"],
    target: Float[Tensor, "positive dimension"],
    *,
    iou: Float[Tensor, " positive"] | None = None,
    boxes: Boxes | None = None,  # noqa: ARG001
    exponent: NonNegative = 1.5,
    w_loc: Positive | Literal["normalised"] = 3.049,
    beta: Positive = 1.0 / 9.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Smooth L1 in which a positive weighs by the overlap of its regressed box: :math:`w_{loc} \, iou^\lambda`.

    The weight is a constant to the gradient.

    Source: Wu et al., "IoU-balanced Loss Functions for Single-stage Object Detection", arXiv:1908.05641, eq. 6
    (manual) and 7 (normalised). Its pairs of exponent and w_loc: (0.5, 1.575), (1, 2.226), (1.5, 3.049), (1.8, 3.649).

    Args:
        pred: Predicted box deltas.
        target: Their truth.
        iou: Overlap of each positive's regressed box, in [0, 1].
        boxes: Not used.
        exponent: :math:`\lambda`, >= 0.
        w_loc: A factor > 0, chosen so that the loss of the first batches stays what it is without weights;
            ``"normalised"`` keeps the sum of every batch, that of all ranks. :class:`IoUBalancedLocLoss` also takes
            ``"auto"``.
        beta: Width of smooth L1, > 0.
        reduction: As in :func:`lidar_rank.losses.smooth_l1_loss`.

    Returns:
        A scalar, or shape (positive,) for ``"none"``.

    Raises:
        ValueError: ``iou`` is missing, or an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> iou_balanced_loc_loss(torch.tensor([[1.0]]), torch.zeros(1, 1), iou=torch.tensor([0.49]))
        tensor(0.9877)
    """
    loss = smooth_l1_terms(pred - target, beta)
    own, power = loss.detach().sum(1), _overlap_power("iou_balanced_loc_loss", iou, exponent)
    weight = balanced_weights(power[None], own[None], "batch")[0] if w_loc == "normalised" else w_loc * power
    return reduce_rows(weight.unsqueeze(1) * loss, reduction)


class IoUBalancedLocLoss(LocalizationLoss):
    """Module form of :func:`iou_balanced_loc_loss`.

    Args:
        w_loc: Also ``"auto"``: the factor that keeps the sum of the first training batch with positives, over all
            ranks of a distributed run. It is measured once, kept in the buffer ``w_auto`` (0 before) and so saved with
            the model; a run that resumes does not measure again.
        **options: Those of :func:`iou_balanced_loc_loss` and ``loss_weight``.
    """

    function = staticmethod(iou_balanced_loc_loss)
    w_auto: Tensor

    @checks_options
    def __init__(self, *, w_loc: Positive | Literal["normalised", "auto"] = 3.049, **options: Any) -> None:
        self.auto = w_loc == "auto"
        super().__init__(**options if self.auto else {"w_loc": w_loc, **options})
        if self.auto:
            self.register_buffer("w_auto", torch.zeros(()))
            self.is_measured = False

    def extra_repr(self) -> str:
        """Show the bound options."""
        return super().extra_repr() + (", w_loc='auto'" if self.auto else "")

    def compute(self, pred: Tensor, target: Tensor, **inputs: Any) -> Tensor:
        """Return the unweighted loss."""
        if not self.auto:
            return super().compute(pred, target, **inputs)
        return self._factor(pred, target, **inputs) * super().compute(pred, target, w_loc=1.0, **inputs)

    def _factor(self, pred: Tensor, target: Tensor, iou: Tensor | None = None, **_: Any) -> Tensor:
        """Return the factor, measured on this batch if none was before; 1 while no batch had positives."""
        # Reading the buffer makes a device wait, but only until a batch was measured.
        self.is_measured = self.is_measured or bool(self.w_auto > 0)
        if self.is_measured:
            return self.w_auto
        options = {**self.options, "w_loc": 1.0, "iou": iou, "reduction": "sum"}
        with torch.no_grad():
            weighted = iou_balanced_loc_loss(pred, target, **options)
            plain = iou_balanced_loc_loss(pred, target, **{**options, "exponent": 0.0})
        plain, weighted = mean_over_ranks(torch.stack([plain, weighted]))
        usable = weighted > VANISHED * plain
        factor = torch.where(usable, plain / torch.where(usable, weighted, 1.0), 0.0)
        if self.training:
            set_buffers(self, w_auto=factor)
        return torch.where(usable, factor, 1.0)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.is_measured = False  # what was loaded says


def _overlap_power(name: str, iou: Tensor | None, exponent: float) -> Float[Tensor, " positive"]:
    overlap = require_iou(name, iou).detach()
    return positive_iou(overlap, torch.ones_like(overlap, dtype=torch.bool)).pow(exponent)
