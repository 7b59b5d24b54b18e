"""aLRP loss: rank objects above background by an error that also counts how well the boxes fit."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lidar_rank.labels import is_object
from lidar_rank.losses._common import (
    ClassificationLoss,
    classification_loss,
    mean_over_ranks,
    negative_entries,
    own_entries,
    pack,
    positive_iou,
    reduce_groups,
    require_iou,
    set_buffers,
    to_groups,
    with_gradient,
)
from lidar_rank.losses._options import NonNegative, Range, Reduction, Scope, checks_options
from lidar_rank.losses._pairs import StepSums
from lidar_rank.losses._shapes import Bool, Float, Int

__all__ = ["ALRPLoss", "alrp_loss"]

Tau = Annotated[float, Range(0, 0.99)]
Momentum = Annotated[float, Range(0, 0.9999)]
Balance = Callable[[Tensor, Tensor], Tensor]
LEAST_DISTURBANCE = 1e-5  # negatives above an object, of which fewer do not move it


@classification_loss
def alrp_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    delta: NonNegative = 1.0,
    tau: Tau = 0.5,
    loc_weight: NonNegative = 1.0,
    balance: Balance | None = None,
    scope: Scope = "batch",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Average localization-recall-precision error of each group: a ranking and a localization error in one.

    Over the P objects i, k with logit x and localization error :math:`E = (1 - iou) / (1 - \tau)`, and the negative
    entries j,

    .. math::
        \ell = \frac{1}{P} \sum_i \frac{F_i + E_i + \sum_{k \ne i} H(x_k - x_i) E_k}{r_i}, \quad
        F_i = \sum_j H(x_j - x_i), \quad r_i = 1 + \sum_{k \ne i} H(x_k - x_i) + F_i

    H is a step softened within :math:`\pm\delta`. The first term, F / r, is the classification part, the rest the
    localization part. The gradient at the logits is set by hand: where background disturbs object i it is pushed up by
    its error less :math:`E_i / r_i`, and each negative is pushed down by the share :math:`H(x_j - x_i) / F_i` of it.
    The gradient at ``iou`` is that of the localization part, with r a constant. O((N + P) log P); no pair is built.

    Source: Oksuz et al., "A Ranking-based, Balanced Loss Function Unifying Classification and Localisation in Object
    Detection", NeurIPS 2020. Their code sums the localization errors over the objects ranked higher, without a soft
    step; we take the paper's H, which does not depend on the order of equal scores.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Overlap of each object's regressed box, in [0, 1], differentiable if the boxes are to learn from it.
        level: Not used.
        delta: Half width of the softened step, in logits, >= 0; with 0 the step is 1 from 0 on.
        tau: Overlap at which E is 1, within [0, 0.99].
        loc_weight: Factor of the localization part and of its gradient at ``iou``, >= 0; see :class:`ALRPLoss`.
        balance: Gives another factor of the localization part from the values of both; :class:`ALRPLoss` has one.
        scope: ``"batch"`` (the authors' code) or ``"image"`` is one ranking group.
        reduction: Over groups that have objects: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: ``iou`` is missing, or an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> alrp_loss(torch.tensor([[[0.0], [-3.0]]]), torch.tensor([[0, 1]]), iou=torch.tensor([[0.8, 0.0]]))
        tensor(0.4000)
    """
    logits, labels, iou = to_groups(scope, logits, labels, require_iou("alrp_loss", iou))
    classes, entries = logits.shape[2], logits.flatten(1)
    source, there = pack(is_object(labels, classes))
    own = own_entries(labels, source, classes)
    overlap = positive_iou(iou.gather(1, source), there)
    terms = _terms(
        entries.detach(),
        negative_entries(labels, classes).flatten(1),
        own,
        there,
        torch.where(there, (1 - overlap.detach()) / (1 - tau), 0.0),
        delta,
    )
    classification = with_gradient(terms.classification, (entries,), (terms.push,))
    localization = with_gradient(terms.localization, (overlap,), (terms.slope / (tau - 1),))
    counted = there.any(1)
    factor = 1.0 if balance is None else balance(classification.detach().sum(), localization.detach().sum())
    return reduce_groups(classification + loc_weight * factor * localization, counted, reduction)


class SelfBalance(nn.Module):
    """Weight of the localization part: (classification + localization) / localization, averaged over steps.

    The averages are over the steps so far and all ranks, kept in the buffer ``averages`` and saved with the model. In
    eval mode they stay as they are.

    Args:
        momentum: Share of the old averages in each step, within [0, 1).
    """

    averages: Tensor

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("averages", torch.zeros(2))

    def forward(self, classification: Float[Tensor, ""], localization: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Return the weight after a step with these two values; 1 while boxes have no error."""
        now = mean_over_ranks(torch.stack([classification, localization]).to(self.averages.dtype))
        # From zero on: the start is the same share of both, and their ratio does not know it.
        averages = self.momentum * self.averages + (1 - self.momentum) * now
        if self.training:
            set_buffers(self, averages=averages)
        boxes = averages[1]
        return torch.where(boxes > 0, averages.sum() / torch.where(boxes > 0, boxes, 1.0), 1.0)


class ALRPLoss(ClassificationLoss):
    """Module form of :func:`alrp_loss`.

    Args:
        balance: Weigh the localization part by a factor that makes it as large as the sum of both parts, as the
            authors do.
        momentum: Share of the earlier average that a step keeps in the average behind ``balance``.
        **options: Those of :func:`alrp_loss`, and ``loss_weight``, ``nonfinite``.
    """

    function = staticmethod(alrp_loss)
    prior_prob: ClassVar[float] = 0.5

    @checks_options
    def __init__(self, *, balance: bool = False, momentum: Momentum = 0.999, **options: Any) -> None:
        super().__init__(**options)
        self.average = SelfBalance(momentum) if balance else None

    def compute(self, logits: Tensor, labels: Tensor, **inputs: Any) -> Tensor:
        """Return the unweighted loss."""
        return super().compute(logits, labels, balance=self.average, **inputs)


class _Terms(NamedTuple):
    """Both parts of the loss of each group, and their gradients."""

    classification: Float[Tensor, " group"]
    localization: Float[Tensor, " group"]
    push: Float[Tensor, "group entry"]  # at the logits
    slope: Float[Tensor, "group object"]  # at the localization errors


def _terms(
    entries: Float[Tensor, "group entry"],
    is_negative: Bool[Tensor, "group entry"],
    own: Int[Tensor, "group object"],
    there: Bool[Tensor, "group object"],
    error: Float[Tensor, "group object"],
    delta: float,
) -> _Terms:
    logit, itself = entries.gather(1, own), 0.5 if delta > 0 else 1.0  # the step of an object and itself
    negatives = StepSums(logit, there, entries, is_negative, delta)
    objects = StepSums(logit, there, logit, there, delta)
    false_positives = torch.where(there, negatives.over_items(), 0.0)
    rank = objects.over_items() - itself + 1 + false_positives
    of_others = (objects.over_items(error) - itself * error).clamp(min=0)
    per_rank = torch.where(there, 1 / rank.clamp(min=1), 0.0)
    disturbed = false_positives > LEAST_DISTURBANCE
    pull = torch.where(disturbed, (false_positives + of_others) * per_rank, 0.0)
    push = negatives.over_bounds(torch.where(disturbed, pull / false_positives, 0.0)).scatter_add_(1, own, -pull)
    slope = objects.over_bounds(per_rank) + (1 - itself) * per_rank
    number = there.sum(1).clamp(min=1)
    return _Terms(
        (false_positives * per_rank).sum(1) / number,
        ((error + of_others) * per_rank).sum(1) / number,
        push.div_(number[:, None]),
        torch.where(there, slope, 0.0) / number[:, None],
    )
