"""RankDetNet: rank objects above background, classes above the rest, well-placed boxes above badly placed ones."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lidar_rank.losses._common import (
    ABSENT,
    ClassificationLoss,
    at_label,
    check_above,
    check_choice,
    check_within,
    classification_loss,
    entry_masks,
    is_object,
    positive_iou,
    reduce_groups,
    require_iou,
    take_highest,
    to_groups,
    with_gradient,
)
from lidar_rank.losses._pairs import chebyshev_moments, chebyshev_order, chebyshev_values, pair_sum
from lidar_rank.losses._shapes import Bool, Float, Int

SURROGATES = ("exp", "sigmoid", "logistic")
MININGS = ("none", "ohem", "group")
SCORES = ("prob", "logit")
EMPTY = ("zero", "virtual")
TOTALS = ("sum", "mean")
PAIR_ROWS = 256  # rows of pairs computed at once: bounds the memory of iou_ranking_loss


@classification_loss
def global_ranking_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,  # noqa: ARG001
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    surrogate: str = "exp",
    mining: str = "group",
    groups: int = 15,
    ratio: float = 3.0,
    reweight: bool = True,
    score: str = "prob",
    empty: str = "zero",
    scope: str = "image",
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    r"""Rank the objects of each group, whatever their class, above its background.

    With n the score of a background candidate (its highest class), p that of an object (its own class),

    .. math:: \ell = \sum_{n, p} z_{np} L(n - p), \quad z_{np} = \frac{L(n - p)}{\sum_{n', p'} L(n' - p')}

    z is a constant to the gradient. The exponential L takes O(N + P): with :math:`A_k = \sum e^{k n}` and
    :math:`B_k = \sum e^{-k p}` the loss is :math:`A_2 B_2 / (A_1 B_1)` and its gradient
    :math:`\ell \, \text{softmax}(2n)`, :math:`-\ell \, \text{softmax}(-2p)`. It is 1 when all scores tie, 1/e at best,
    e at worst. The other two take Chebyshev moments of the scores. No pair is built.

    Source: Liu et al., "RankDetNet", CVPR 2021, eq. 2 and 3. It does not say what f is; we read "confidence" as the
    probability (``score="logit"`` is the other reading).

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Not used.
        level: Not used.
        surrogate: L: ``"exp"`` e^x, ``"sigmoid"`` 1 / (1 + e^-x) or ``"logistic"`` log(1 + e^x).
        mining: Negatives that count: ``"group"``, the means of ``groups`` score intervals of equal width between the
            lowest and the highest (empty ones drop out); ``"ohem"``, the ``ratio`` x P highest; ``"none"``, all: with
            probabilities their gradient is spread nearly evenly, so mine unless there are few.
        groups: Score intervals of ``mining="group"``, > 0.
        ratio: Negatives per positive of ``mining="ohem"``, > 0.
        reweight: False replaces z by the mean over pairs.
        score: ``"prob"``, or ``"logit"``: raw scores, ``surrogate="exp"`` only, and the logarithm of the loss, since
            the loss itself overflows.
        empty: Without objects: ``"zero"``, no loss, or ``"virtual"``, one object of probability 1.
        scope: ``"image"`` or ``"batch"`` is one ranking group.
        reduction: Over groups that have pairs: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> global_ranking_loss(torch.zeros(1, 3, 1), torch.tensor([[0, 1, 1]]))
        tensor(1.)
    """
    _check_options(surrogate, mining, groups, ratio, score)
    check_choice("empty", empty, EMPTY)
    if empty == "virtual" and score == "logit":
        raise ValueError("empty='virtual' is an object of probability 1, which has no logit; use score='prob'")
    logits, labels = to_groups(scope, logits, labels)
    classes = logits.shape[2]
    pos, object_ = at_label(logits, labels), is_object(labels, classes)
    neg = logits.squeeze(2) if classes == 1 else logits.max(2).values
    if score == "prob":
        neg, pos = neg.sigmoid(), pos.sigmoid()
    if empty == "virtual":
        none = ~object_.any(1, keepdim=True)
        pos, object_ = torch.cat([pos, torch.ones_like(none, dtype=pos.dtype)], 1), torch.cat([object_, none], 1)
    column = torch.zeros_like(object_, dtype=torch.int64)
    positives = object_.sum(1, keepdim=True)
    background = (labels == classes).unsqueeze(2)
    neg, neg_there = _mine(neg.unsqueeze(2), background, positives, mining, groups, ratio)
    loss, counted = _rank(_Sides(neg, neg_there, pos, object_, column, positives), surrogate, reweight, score)
    return reduce_groups(loss[:, 0], counted[:, 0], reduction)


class GlobalRankingLoss(ClassificationLoss):
    """Module form of :func:`global_ranking_loss`."""

    function = staticmethod(global_ranking_loss)


@classification_loss
def class_ranking_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,  # noqa: ARG001
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    surrogate: str = "exp",
    mining: str = "group",
    groups: int = 3,
    ratio: float = 3.0,
    reweight: bool = True,
    score: str = "prob",
    class_total: str = "sum",
    scope: str = "image",
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    """Rank each class's objects above everything else's score at that class: background and other objects.

    Source: Liu et al., "RankDetNet", CVPR 2021, eq. 4 and 5: :func:`global_ranking_loss`, class by class.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Not used.
        level: Not used.
        surrogate: As in :func:`global_ranking_loss`.
        mining: As in :func:`global_ranking_loss`, class by class.
        groups: Score intervals of ``mining="group"``, > 0.
        ratio: Negatives per positive of ``mining="ohem"``, > 0.
        reweight: False replaces z by the mean over pairs.
        score: As in :func:`global_ranking_loss`.
        class_total: ``"sum"`` over the classes that have pairs (the paper) or their ``"mean"``.
        scope: ``"image"`` or ``"batch"`` is one ranking group.
        reduction: Over groups that have pairs: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> class_ranking_loss(torch.zeros(1, 3, 2), torch.tensor([[0, 1, 2]]))
        tensor(2.)
    """
    _check_options(surrogate, mining, groups, ratio, score)
    check_choice("class_total", class_total, TOTALS)
    logits, labels = to_groups(scope, logits, labels)
    classes = logits.shape[2]
    value = logits.sigmoid() if score == "prob" else logits
    pos, object_ = at_label(value, labels), is_object(labels, classes)
    column = labels.clamp(0, classes - 1)
    positives = _sum_by_column(object_.long(), column, classes)
    neg, neg_there = _mine(value, entry_masks(labels, classes)[1], positives, mining, groups, ratio)
    loss, counted = _rank(_Sides(neg, neg_there, pos, object_, column, positives), surrogate, reweight, score)
    total = torch.where(counted, loss, 0.0).sum(1)
    if class_total == "mean":
        total = total / counted.sum(1).clamp(min=1)
    return reduce_groups(total, counted.any(1), reduction)


class ClassRankingLoss(ClassificationLoss):
    """Module form of :func:`class_ranking_loss`."""

    function = staticmethod(class_ranking_loss)


def _check_options(surrogate: str, mining: str, groups: int, ratio: float, score: str) -> None:
    check_choice("surrogate", surrogate, SURROGATES)
    check_choice("mining", mining, MININGS)
    check_choice("score", score, SCORES)
    check_above(0, groups=groups, ratio=ratio)
    if score == "logit" and surrogate != "exp":
        raise ValueError(f"surrogate={surrogate!r} ranks probabilities; score='logit' needs surrogate='exp'")


def _mine(
    neg: Float[Tensor, "group candidate column"],
    there: Bool[Tensor, "group candidate column"],
    positives: Int[Tensor, "group column"],
    mining: str,
    groups: int,
    ratio: float,
) -> tuple[Float[Tensor, "group mined column"], Bool[Tensor, "group mined column"]]:
    """Return the negatives that count, and which of the places hold one."""
    if mining == "ohem":
        return take_highest(neg, there, (ratio * positives).long())[:2]
    return _score_group_means(neg, there, groups) if mining == "group" else (neg, there)


def _score_group_means(
    score: Float[Tensor, "group candidate column"], there: Bool[Tensor, "group candidate column"], groups: int
) -> tuple[Float[Tensor, "group bin column"], Bool[Tensor, "group bin column"]]:
    """Mean score of each of ``groups`` intervals of equal width from the lowest to the highest score that is there."""
    with torch.no_grad():
        low = torch.where(there, score, -ABSENT).amin(1, keepdim=True)
        high = torch.where(there, score, ABSENT).amax(1, keepdim=True)
        scale = torch.where(high > low, groups / (high - low), 0.0)
        interval = ((score - low) * scale).clamp(0, groups - 1).long()
        interval = torch.where(there, interval, groups)  # a last one, dropped below, for what is not there
    shape = (score.shape[0], groups + 1, score.shape[2])
    total = score.new_zeros(shape).scatter_add(1, interval, score)[:, :groups]
    size = score.new_zeros(shape).scatter_add(1, interval, torch.ones_like(score))[:, :groups]
    return total / size.clamp(min=1), size > 0


class _Sides(NamedTuple):
    """What is ranked: in each column of each group, its positives above its negatives."""

    neg: Float[Tensor, "group mined column"]
    neg_there: Bool[Tensor, "group mined column"]
    pos: Float[Tensor, "group candidate"]
    pos_there: Bool[Tensor, "group candidate"]
    column: Int[Tensor, "group candidate"]  # of each positive
    positives: Int[Tensor, "group column"]  # their number


def _rank(
    sides: _Sides, surrogate: str, reweight: bool, score: str
) -> tuple[Float[Tensor, "group column"], Bool[Tensor, "group column"]]:
    """Return the loss of each column, and which columns have a pair; the loss of the others is finite but void."""
    if surrogate == "exp":
        log_sum, log_square_sum = _log_sums_exp(sides, score)
    else:
        sums = _sums_chebyshev(sides, surrogate)
        log_sum, log_square_sum = (total.clamp(min=torch.finfo(total.dtype).tiny).log() for total in sums)
    if reweight:
        # sum z L = S2 / S1. With z constant its gradient is that of S2 / 2 over S1.
        log_loss = (log_square_sum + log_square_sum.detach()) / 2 - log_sum.detach()
    else:
        log_loss = log_sum - (sides.neg_there.sum(1) * sides.positives).clamp(min=1).to(log_sum.dtype).log()
    counted = sides.neg_there.any(1) & (sides.positives > 0)
    return log_loss if score == "logit" else log_loss.exp(), counted


def _log_sums_exp(sides: _Sides, score: str) -> tuple[Float[Tensor, "group column"], Float[Tensor, "group column"]]:
    """Logarithms of the sums of e^(n - p) and of its square: sums over pairs are products of sums."""
    neg, neg_there, pos, pos_there, column, positives = sides
    if score == "prob":  # bounded: no shift is needed, and the pass that finds the maximum is saved
        neg_shift, pos_shift = neg.new_zeros(1, 1, 1), pos.new_zeros(positives.shape)
    else:
        neg_shift = torch.where(neg_there, neg.detach(), ABSENT).amax(1, keepdim=True)
        opposite = torch.where(pos_there, -pos.detach(), ABSENT)
        pos_shift = pos.new_full(positives.shape, ABSENT).scatter_reduce(1, column, opposite, "amax")
    neg_exp = torch.where(neg_there, neg - neg_shift, ABSENT).exp()
    pos_exp = torch.where(pos_there, -pos - pos_shift.gather(1, column), ABSENT).exp()
    tiny = torch.finfo(neg.dtype).tiny
    logs = []
    for power, neg_part, pos_part in ((1, neg_exp, pos_exp), (2, neg_exp.square(), pos_exp.square())):
        neg_sum = neg_part.sum(1).clamp(min=tiny)
        pos_sum = _sum_by_column(pos_part, column, positives.shape[1]).clamp(min=tiny)
        logs.append(neg_sum.log() + pos_sum.log() + power * (neg_shift.squeeze(1) + pos_shift))
    return logs[0], logs[1]


def _sums_chebyshev(
    sides: _Sides, surrogate: str
) -> tuple[Float[Tensor, "group column"], Float[Tensor, "group column"]]:
    """Sums of L(n - p) and of its square for a surrogate that does not separate, exact to rounding."""
    neg, neg_there, pos, pos_there, column, positives = sides
    order = chebyshev_order(1.0, neg.dtype)
    neg_moments = chebyshev_moments(neg, neg_there.to(neg.dtype), order)
    values = chebyshev_values(pos, order) * pos_there.unsqueeze(2)
    pos_moments = _sum_by_column(values, column.unsqueeze(2).expand_as(values), positives.shape[1])
    once = pair_sum(lambda gap: surrogate_of(gap, surrogate), neg_moments, pos_moments)
    return once, pair_sum(lambda gap: surrogate_of(gap, surrogate).square(), neg_moments, pos_moments)


def surrogate_of(gap: Tensor, surrogate: str) -> Tensor:
    """Return L(gap)."""
    if surrogate == "exp":
        return gap.exp()
    return gap.sigmoid() if surrogate == "sigmoid" else F.softplus(gap)


def surrogate_slope(gap: Tensor, surrogate: str) -> Tensor:
    """Return L'(gap)."""
    if surrogate == "exp":
        return gap.exp()
    rise = gap.sigmoid()
    return rise * (1 - rise) if surrogate == "sigmoid" else rise


def _sum_by_column(values: Tensor, column: Tensor, columns: int) -> Tensor:
    """Sum ``values`` (group, candidate, ...) over the candidates of each column: (group, column, ...)."""
    return values.new_zeros(values.shape[0], columns, *values.shape[2:]).scatter_add(1, column, values)


@classification_loss
def iou_ranking_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,
    level: Int[Tensor, " candidate"] | None = None,
    alpha: float = 1.0,
    surrogate: str = "exp",
    pair_total: str = "mean",
    max_positives: int = 2048,
    scope: str = "image",
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    r"""Order the objects of a class by the overlap of their boxes.

    Over the ordered pairs of objects i, j of one class c on one pyramid level k, with probability f and overlap s,

    .. math:: \ell = \sum_{c, k} \sum_{i \ne j} L(-\alpha (f_i - f_j)(s_i - s_j))

    Each pair's gradient reaches both f and the s of the member with the higher f; the s of the other is a constant.

    Source: Liu et al., "RankDetNet", CVPR 2021, eq. 6 and table 4. The raw sum grows with the square of the number of
    objects while the other two terms do not; we take the mean over each (c, k) that has pairs, then over these
    (``pair_total="sum"`` is the text).

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Overlap of each object's regressed box, in [0, 1], differentiable if the boxes are to learn from it.
        level: Pyramid level; None is one level.
        alpha: Steepness, > 0.
        surrogate: As in :func:`global_ranking_loss`.
        pair_total: ``"mean"`` or ``"sum"``.
        max_positives: A group with more objects ranks those of highest f; time grows with its square.
        scope: ``"image"`` or ``"batch"`` is one ranking group.
        reduction: Over groups that have pairs: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: ``iou`` is missing, or an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> iou_ranking_loss(torch.zeros(1, 2, 1), torch.tensor([[0, 0]]), iou=torch.tensor([[0.9, 0.5]]))
        tensor(1.)
    """
    check_choice("surrogate", surrogate, SURROGATES)
    check_choice("pair_total", pair_total, TOTALS)
    check_above(0, alpha=alpha, max_positives=max_positives)
    iou = require_iou("iou_ranking_loss", iou)
    level = labels.new_zeros(labels.shape[1]) if level is None else level
    logits, labels, iou, level = to_groups(scope, logits, labels, iou, level.expand_as(labels))
    object_ = is_object(labels, logits.shape[2])
    prob = at_label(logits, labels).sigmoid()
    count = object_.sum(1).clamp(max=max_positives)
    prob, there, source = take_highest(prob, object_, count, max_positives)
    overlap = positive_iou(iou, object_).gather(1, source)
    label, level = labels.gather(1, source), level.gather(1, source)
    pairs = (prob.detach(), overlap.detach(), label, level, there)
    loss, counted, slopes = _pair_terms(*pairs, alpha, surrogate, pair_total)
    return reduce_groups(with_gradient(loss, (prob, overlap), slopes), counted, reduction)


class IoURankingLoss(ClassificationLoss):
    """Module form of :func:`iou_ranking_loss`."""

    function = staticmethod(iou_ranking_loss)


def _pair_terms(
    prob: Float[Tensor, "group object"],
    overlap: Float[Tensor, "group object"],
    label: Int[Tensor, "group object"],
    level: Int[Tensor, "group object"],
    there: Bool[Tensor, "group object"],
    alpha: float,
    surrogate: str,
    pair_total: str,
) -> tuple[Float[Tensor, " group"], Bool[Tensor, " group"], tuple[Tensor, Tensor]]:
    """Return the loss of eq. 6, which groups have a pair, and the slopes with respect to prob and overlap."""
    place = torch.arange(prob.shape[1], device=prob.device)
    loss = keys = prob.new_zeros(prob.shape[0])
    prob_slopes, overlap_slopes = [], []
    for start in range(0, prob.shape[1], PAIR_ROWS):
        row = slice(start, start + PAIR_ROWS)
        pair = there[:, row, None] & there[:, None] & (place[row, None] != place)
        pair = pair & (label[:, row, None] == label[:, None]) & (level[:, row, None] == level[:, None])
        rise = prob[:, row, None] - prob[:, None]
        gain = overlap[:, row, None] - overlap[:, None]
        others = pair.sum(2, keepdim=True)
        weight = pair.to(prob.dtype)
        if pair_total == "mean":
            weight = weight / (others * (others + 1)).clamp(min=1)
        keys = keys + ((others > 0) / (others + 1)).sum((1, 2))
        gap = -alpha * rise * gain
        loss = loss + (weight * surrogate_of(gap, surrogate)).sum((1, 2))
        slope = -2 * alpha * weight * surrogate_slope(gap, surrogate)  # 2: the pair (j, i) has the value of (i, j)
        prob_slopes.append((slope * gain).sum(2))
        overlap_slopes.append((slope * rise.clamp(min=0)).sum(2))  # only the member with the higher prob
    scale = keys.round().clamp(min=1) if pair_total == "mean" else torch.ones_like(keys)
    slopes = torch.cat(prob_slopes, 1) / scale[:, None], torch.cat(overlap_slopes, 1) / scale[:, None]
    return loss / scale, keys > 0, slopes


@classification_loss
def rank_det_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,
    level: Int[Tensor, " candidate"] | None = None,
    surrogate: str = "exp",
    mining: str = "group",
    global_groups: int = 15,
    class_groups: int = 3,
    ratio: float = 3.0,
    alpha: float = 1.0,
    global_weight: float = 1.0,
    class_weight: float = 1.0,
    iou_weight: float = 1.0,
    scope: str = "image",
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    """Sum of the three losses of RankDetNet, with its weights 1:1:1 (and 1 for the box regression beside it).

    Source: Liu et al., "RankDetNet", CVPR 2021. Training starts from, or blends over from, focal loss: see
    :class:`lidar_rank.losses.BlendLoss`.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Overlap of each object's regressed box; see :func:`iou_ranking_loss`.
        level: Pyramid level; see :func:`iou_ranking_loss`.
        surrogate: L of all three terms; see :func:`global_ranking_loss`.
        mining: Of the first two terms; see :func:`global_ranking_loss`.
        global_groups: Score intervals of the global term.
        class_groups: Score intervals of the class-specific term.
        ratio: Negatives per positive of ``mining="ohem"``.
        alpha: Steepness of the IoU-guided term.
        global_weight: Factor of :func:`global_ranking_loss`, >= 0.
        class_weight: Factor of :func:`class_ranking_loss`, >= 0.
        iou_weight: Factor of :func:`iou_ranking_loss`, >= 0; with 0, ``iou`` is not needed.
        scope: ``"image"`` or ``"batch"`` is one ranking group.
        reduction: Of each term, over the groups that have pairs in it: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or one value per group for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> iou = torch.tensor([[0.9, 0.5, 0.0]])
        >>> rank_det_loss(torch.zeros(1, 3, 1), torch.tensor([[0, 0, 1]]), iou=iou)
        tensor(3.)
    """
    check_within(0, math.inf, global_weight=global_weight, class_weight=class_weight, iou_weight=iou_weight)
    if iou_weight:
        require_iou("rank_det_loss with iou_weight > 0", iou)
    both: dict[str, Any] = {"iou": iou, "level": level, "surrogate": surrogate, "scope": scope, "reduction": reduction}
    mined = {**both, "mining": mining, "ratio": ratio}
    loss = global_weight * global_ranking_loss(logits, labels, groups=global_groups, **mined)
    loss = loss + class_weight * class_ranking_loss(logits, labels, groups=class_groups, **mined)
    if iou_weight:
        loss = loss + iou_weight * iou_ranking_loss(logits, labels, alpha=alpha, **both)
    return loss


class RankDetLoss(ClassificationLoss):
    """Module form of :func:`rank_det_loss`."""

    function = staticmethod(rank_det_loss)
