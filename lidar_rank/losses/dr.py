"""Distributional ranking (DR) loss: rank the worst-case mean of the positives above that of the negatives."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lidar_rank.devices import require
from lidar_rank.labels import is_object
from lidar_rank.losses._common import (
    ABSENT,
    ClassificationLoss,
    check_classification_inputs,
    classification_loss,
    describe,
    has_candidates,
    negative_entries,
    own_entries,
    pack,
    range_of,
    reduce_groups,
    to_groups,
    widen,
)
from lidar_rank.losses._options import Count, Positive, Range, Reduction, Scope, checks_options
from lidar_rank.losses._pairs import chebyshev_moments, chebyshev_order, pair_sum, truncated_power_sums
from lidar_rank.losses._shapes import Bool, Float, Int

__all__ = ["DRLoss", "dr_effective_negatives", "dr_loss", "temperature_from_h"]

NEG_TEMPERATURE = 0.1 / math.log(3.5)
Surrogate = Literal["logistic", "quadratic", "hinge"]
Ablation = Literal["none", "neg_only", "all", "worst"]


def temperature_from_h(h: float, base: float = 1.0) -> float:
    """Return the temperature base / log(h); the paper's best are h = e, base 1 (positives), h = 3.5, base 0.1."""
    if not (h > 1 and base > 0):
        raise ValueError(f"temperature_from_h needs h > 1 and base > 0, got {h=} and {base=}")
    return base / math.log(h)


@classification_loss
def dr_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,  # noqa: ARG001
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    prior: Float[Tensor, "..."] | None = None,
    margin: Annotated[float, Range(-1, 1)] = 0.5,
    pos_temperature: Positive = 1.0,
    neg_temperature: Positive = NEG_TEMPERATURE,
    surrogate: Surrogate = "logistic",
    sharpness: Annotated[float, Range(1e-6, 100)] = 6.0,
    rho: Positive = 0.5,
    scale: Positive = 4.0,
    topk_neg: Count | None = None,
    detach_q: bool = False,
    ablation: Ablation = "none",
    scope: Scope = "image",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Rank the worst-case positive distribution of each group above its worst-case negative distribution.

    With :math:`p = \sigma(\text{logits})`, o a prior weight and sums over a group's positives or negatives,

    .. math::
        \hat P_\pm = \sum_i q_i^\pm p_i, \quad q_i^\pm \propto o_i e^{\mp p_i / \lambda_\pm}, \quad
        \ell = \tau \, s(\hat P_- - \hat P_+ + \gamma)

    where s(z) is :math:`\log(1 + e^{L z}) / L` (logistic, eq. 8), a hinge smoothed by a quadratic within
    :math:`\pm\rho` (quadratic, eq. 7) or :math:`\max(z, 0)` (hinge). Negatives are all entries of candidates that are
    not ignored except each object's own class. A missing side counts as perfect: :math:`\hat P_+ = 1` without
    positives, :math:`\hat P_- = 0` without negatives.

    Source: Qian et al., "DR Loss: Improving Object Detection by Distributional Ranking", CVPR 2020. The gradient runs
    through q, as in the authors' code (``detach_q`` stops it); the paper's text ranks within an image, its published
    numbers came from a repository that ranked within a two-image batch (``scope="batch"``).

    Args:
        logits: Raw scores. A classifier that starts at probability 0.5 (bias 0), not 0.01, suits this loss.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Not used.
        level: Not used.
        prior: Weight o of every entry, finite and >= 0, in the shape of ``logits``; 0 leaves it out. None is uniform.
        margin: :math:`\gamma`, in probability.
        pos_temperature: :math:`\lambda_+`, > 0; smaller looks only at the lowest positives.
        neg_temperature: :math:`\lambda_-`, > 0; smaller looks only at the highest negatives. The default is for the
            candidates of an image; with many more of them the easy ones drown a hard one, and ``topk_neg`` helps.
        surrogate: ``"logistic"``, ``"quadratic"`` or ``"hinge"``.
        sharpness: :math:`L` of the logistic surrogate, > 0, at most 100.
        rho: Half width of the quadratic surrogate's smooth part, > 0.
        scale: :math:`\tau`, > 0.
        topk_neg: Keep this many highest negatives of a group (a prior of 0 for the rest). None keeps all.
        detach_q: Treat q as constant: then no negative gets a gradient that raises its score.
        ablation: The rankings that the paper compares with: ``"neg_only"`` (each positive against :math:`\hat P_-`),
            ``"all"`` (mean over pairs, none of them built), ``"worst"`` (highest negative, lowest positive).
        scope: ``"image"`` or ``"batch"`` is one ranking group.
        reduction: Over groups that have a candidate: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> dr_loss(torch.zeros(1, 3, 1), torch.tensor([[0, 1, 1]]))
        tensor(2.0324)
    """
    _check_prior(prior, logits, ablation)
    logits, labels, *priors = to_groups(scope, logits, labels, *([] if prior is None else [widen(prior)]))
    neg, pos = _sides(logits.sigmoid(), labels, priors[0] if priors else None, topk_neg)
    bound = _Bound(surrogate, sharpness, rho)
    if ablation == "all":
        loss = _mean_over_pairs(neg, pos, margin, bound)
    elif ablation == "worst":
        highest = torch.where(neg.there, neg.prob, 0.0).amax(1)
        lowest = torch.where(pos.there, pos.prob, 1.0).amin(1)
        loss = bound(highest - lowest + margin)
    else:
        neg_mean = _soft_mean(neg, 1 / neg_temperature, 0.0, detach_q)
        if ablation == "neg_only":
            loss = _mean_over_positives(neg_mean, pos, margin, bound)
        else:
            pos_mean = _soft_mean(pos, -1 / pos_temperature, 1.0, detach_q)
            loss = bound(neg_mean - pos_mean + margin)
    return reduce_groups(scale * loss, has_candidates(labels), reduction)


class DRLoss(ClassificationLoss):
    """Module form of :func:`dr_loss`."""

    function = staticmethod(dr_loss)
    prior_prob: ClassVar[float] = 0.5


@checks_options
def dr_effective_negatives(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    neg_temperature: Positive = NEG_TEMPERATURE,
    scope: Scope = "image",
) -> Float[Tensor, " group"]:
    """How many negatives of each group share the weight q of :func:`dr_loss`: 1 / sum q^2, 0 without negatives.

    Near the number of negatives, the loss sees their plain mean and hard ones drown: use a smaller ``neg_temperature``
    or ``topk_neg``.
    """
    check_classification_inputs(logits, labels, None, None)
    logits, labels = to_groups(scope, widen(logits), labels)
    neg, _ = _sides(logits.detach().sigmoid(), labels, None, None)
    weight, there = _weights(neg, 1 / neg_temperature)
    return torch.where(there, 1 / weight.square().sum(1), 0.0)


class _Side(NamedTuple):
    """One side of a ranking."""

    prob: Float[Tensor, "group entry"]
    there: Bool[Tensor, "group entry"]
    prior: Float[Tensor, "group entry"] | None


@dataclass(frozen=True)
class _Bound:
    """Upper bound of the step function, by its name."""

    kind: Surrogate
    sharpness: float
    rho: float

    def __call__(self, z: Tensor) -> Tensor:
        if self.kind == "logistic":
            return F.softplus(z, beta=self.sharpness)
        if self.kind == "hinge":
            return z.clamp(min=0)
        smooth = z.clamp(-self.rho, self.rho)
        return (smooth + self.rho).square() / (4 * self.rho) + (z - smooth).clamp(min=0)


def _sides(
    prob: Float[Tensor, "group candidate class"],
    labels: Int[Tensor, "group candidate"],
    prior: Float[Tensor, "group candidate class"] | None,
    topk_neg: int | None,
) -> tuple[_Side, _Side]:
    """Return the negatives and the positives of each group."""
    classes, entries = prob.shape[2], prob.flatten(1)
    weights = None if prior is None else prior.flatten(1)
    neg = _Side(entries, negative_entries(labels, classes).flatten(1), weights)
    source, object_ = pack(is_object(labels, classes))
    own = own_entries(labels, source, classes)
    pos = _Side(entries.gather(1, own), object_, None if weights is None else weights.gather(1, own))
    if neg.prior is not None and pos.prior is not None:
        neg, pos = neg._replace(there=neg.there & (neg.prior > 0)), pos._replace(there=pos.there & (pos.prior > 0))
    if topk_neg is not None:
        best = torch.where(neg.there, neg.prob, -1.0).topk(min(topk_neg, neg.prob.shape[1]), dim=1)
        kept_prior = None if neg.prior is None else neg.prior.gather(1, best.indices)
        neg = _Side(best.values, best.values >= 0, kept_prior)
    return neg, pos


def _weights(side: _Side, slope: float) -> tuple[Float[Tensor, "group entry"], Bool[Tensor, " group"]]:
    """Return q, proportional to prior * exp(slope * prob), and which groups have an entry; q is void in the others."""
    score = slope * side.prob
    if side.prior is not None:
        score = score + torch.where(side.there, side.prior, 1.0).log()  # what is not there may have a prior of 0
    score = torch.where(side.there, score, ABSENT)
    return score.softmax(1), score.detach().amax(1) > ABSENT


def _soft_mean(side: _Side, slope: float, missing: float, detach_q: bool) -> Float[Tensor, " group"]:
    """Mean of the probabilities under q, or ``missing`` in a group without entries."""
    weight, there = _weights(side, slope)
    return torch.where(there, ((weight.detach() if detach_q else weight) * side.prob).sum(1), missing)


def _mean_over_positives(
    neg_mean: Float[Tensor, " group"], pos: _Side, margin: float, bound: _Bound
) -> Float[Tensor, " group"]:
    """Return the NegOnly ablation: each positive is ranked above the negatives' distribution."""
    prob, there = _or_virtual(pos, 1.0)
    loss = bound(neg_mean[:, None] - prob + margin)
    return (loss * there).sum(1) / there.sum(1)


def _mean_over_pairs(neg: _Side, pos: _Side, margin: float, bound: _Bound) -> Float[Tensor, " group"]:
    """Return the All ablation: the mean over every (negative, positive) pair, in O((N + P) log P)."""
    neg_prob, neg_there = _or_virtual(neg, 0.0)
    pos_prob, pos_there = _or_virtual(pos, 1.0)
    neg_weight, pos_weight = neg_there.to(neg_prob.dtype), pos_there.to(pos_prob.dtype)
    pairs = neg_weight.sum(1) * pos_weight.sum(1)
    if bound.kind == "logistic":
        order = chebyshev_order(bound.sharpness, neg_prob.dtype)
        sides = chebyshev_moments(neg_prob, neg_weight, order), chebyshev_moments(pos_prob, pos_weight, order)
        return pair_sum(lambda gap: bound(gap + margin), *sides) / pairs
    z = neg_prob + margin
    if bound.kind == "hinge":
        sums = truncated_power_sums(z, pos_prob, pos_weight, 1)
    else:
        upper, lower = (truncated_power_sums(z + shift, pos_prob, pos_weight, 2) for shift in (bound.rho, -bound.rho))
        sums = (upper - lower) / (4 * bound.rho)
    return (neg_weight * sums).sum(1) / pairs


def _or_virtual(side: _Side, perfect: float) -> tuple[Float[Tensor, "group entry"], Bool[Tensor, "group entry"]]:
    """Give an empty side one virtual entry of the perfect probability."""
    empty = ~side.there.any(1, keepdim=True)
    virtual = torch.full_like(empty, perfect, dtype=side.prob.dtype)
    return torch.cat([side.prob, virtual], 1), torch.cat([side.there, empty], 1)


def _check_prior(prior: Tensor | None, logits: Tensor, ablation: Ablation) -> None:
    if prior is None:
        return
    if prior.shape != logits.shape or not prior.is_floating_point():
        raise ValueError(f"prior must be a float tensor of logits' shape {tuple(logits.shape)}, got {describe(prior)}")
    if ablation in ("all", "worst"):
        raise ValueError(f"prior weighs distributions, which ablation={ablation!r} has not; drop it or use 'none'")
    require(((prior >= 0) & (prior < math.inf)).all(), "prior must be finite and >= 0", lambda: range_of(prior))
