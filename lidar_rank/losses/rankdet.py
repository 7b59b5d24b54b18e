"""RankDetNet: rank objects above background, classes above the rest, well-placed boxes above badly placed ones."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lidar_rank.labels import is_object
from lidar_rank.losses._common import (
    ABSENT,
    ClassificationLoss,
    classification_loss,
    negative_entries,
    pack,
    positive_iou,
    reduce_groups,
    require_iou,
    take_highest,
    to_groups,
    with_gradient,
)
from lidar_rank.losses._options import Count, NonNegative, Positive, Range, Reduction, Scope
from lidar_rank.losses._pairs import chebyshev_moments, chebyshev_order, chebyshev_values, pair_sum
from lidar_rank.losses._shapes import Bool, Float, Int

__all__ = [
    "ClassRankingLoss",
    "GlobalRankingLoss",
    "IoURankingLoss",
    "RankDetLoss",
    "class_ranking_loss",
    "global_ranking_loss",
    "iou_ranking_loss",
    "rank_det_loss",
]

Surrogate = Literal["exp", "sigmoid", "logistic"]
Mining = Literal["none", "ohem", "group"]
Score = Literal["prob", "logit"]
Empty = Literal["zero", "virtual"]
Total = Literal["sum", "mean"]
Groups = Annotated[int, Range(1, 10_000)]
Steepness = Annotated[float, Range(1e-6, 50)]  # e^50 leaves room for the sum over pairs
MAX_POSITIVES = 2048
PAIR_ROWS = 256  # rows of pairs computed at once: bounds the memory of iou_ranking_loss


@classification_loss
def global_ranking_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,  # noqa: ARG001
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    surrogate: Surrogate = "exp",
    mining: Mining = "group",
    groups: Groups = 15,
    ratio: Positive = 3.0,
    reweight: bool = True,
    score: Score = "prob",
    empty: Empty = "zero",
    scope: Scope = "image",
    reduction: Reduction = "mean",
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
        >>> round(global_ranking_loss(torch.zeros(1, 3, 1), torch.tensor([[0, 1, 1]])).item(), 4)
        1.0
    """
    ranking = _Ranking(surrogate, mining, groups, ratio, reweight, score)
    if empty == "virtual" and score == "logit":
        raise ValueError("empty='virtual' is an object of probability 1, which has no logit; use score='prob'")
    return reduce_groups(*_global_terms(_scene(scope, logits, labels), ranking, empty), reduction)


class GlobalRankingLoss(ClassificationLoss):
    """Module form of :func:`global_ranking_loss`."""

    function = staticmethod(global_ranking_loss)
    prior_prob: ClassVar[float] = 0.5


@classification_loss
def class_ranking_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,  # noqa: ARG001
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    surrogate: Surrogate = "exp",
    mining: Mining = "group",
    groups: Groups = 3,
    ratio: Positive = 3.0,
    reweight: bool = True,
    score: Score = "prob",
    class_total: Total = "sum",
    scope: Scope = "image",
    reduction: Reduction = "mean",
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
        >>> round(class_ranking_loss(torch.zeros(1, 3, 2), torch.tensor([[0, 1, 2]])).item(), 4)
        2.0
    """
    ranking = _Ranking(surrogate, mining, groups, ratio, reweight, score)
    return reduce_groups(*_class_terms(_scene(scope, logits, labels), ranking, class_total), reduction)


class ClassRankingLoss(ClassificationLoss):
    """Module form of :func:`class_ranking_loss`."""

    function = staticmethod(class_ranking_loss)
    prior_prob: ClassVar[float] = 0.5


@dataclass(frozen=True)
class _Ranking:
    """The options that the global and the class-specific term share; see :func:`global_ranking_loss`."""

    surrogate: Surrogate
    mining: Mining
    groups: int
    ratio: float
    reweight: bool = True
    score: Score = "prob"

    def __post_init__(self) -> None:
        if self.score == "logit" and self.surrogate != "exp":
            raise ValueError(f"surrogate={self.surrogate!r} ranks probabilities; score='logit' needs surrogate='exp'")

    def score_of(self, logits: Tensor) -> Tensor:
        """Return what is ranked."""
        return logits.sigmoid() if self.score == "prob" else logits


class _Scene(NamedTuple):
    """The inputs in groups, with the objects of each group packed at the front."""

    logits: Float[Tensor, "group candidate class"]
    labels: Int[Tensor, "group candidate"]
    source: Int[Tensor, "group object"]  # each object's candidate
    there: Bool[Tensor, "group object"]
    own_logit: Float[Tensor, "group object"]  # at its own class
    own_class: Int[Tensor, "group object"]


def _scene(scope: Scope, logits: Tensor, labels: Tensor) -> _Scene:
    logits, labels = to_groups(scope, logits, labels)
    classes = logits.shape[2]
    source, there = pack(is_object(labels, classes))
    own_class = labels.gather(1, source).clamp(0, classes - 1)
    own_logit = logits.flatten(1).gather(1, source * classes + own_class)
    return _Scene(logits, labels, source, there, own_logit, own_class)


def _global_terms(
    scene: _Scene, ranking: _Ranking, empty: Empty
) -> tuple[Float[Tensor, " group"], Bool[Tensor, " group"]]:
    """Return the loss of each group and which groups have a pair."""
    classes = scene.logits.shape[2]
    neg = scene.logits if classes == 1 else scene.logits.max(2, keepdim=True).values
    pos, there = ranking.score_of(scene.own_logit), scene.there
    if empty == "virtual":
        none = ~there.any(1, keepdim=True)
        pos, there = torch.cat([pos, torch.ones_like(none, dtype=pos.dtype)], 1), torch.cat([there, none], 1)
    positives = there.sum(1, keepdim=True)
    background = (scene.labels == classes).unsqueeze(2)
    neg, neg_there = _mine(neg, background, positives, ranking)
    sides = _Sides(neg, neg_there, pos, there, torch.zeros_like(there, dtype=torch.int64), positives)
    loss, counted = _rank(sides, ranking)
    return loss.squeeze(1), counted.squeeze(1)


def _class_terms(
    scene: _Scene, ranking: _Ranking, class_total: Total
) -> tuple[Float[Tensor, " group"], Bool[Tensor, " group"]]:
    """Return the loss of each group, over its classes, and which groups have a pair."""
    classes = scene.logits.shape[2]
    positives = _sum_by_column(scene.there.long(), scene.own_class, classes)
    negative = negative_entries(scene.labels, classes)
    neg, neg_there = _mine(scene.logits, negative, positives, ranking)
    sides = _Sides(neg, neg_there, ranking.score_of(scene.own_logit), scene.there, scene.own_class, positives)
    loss, counted = _rank(sides, ranking)
    total = torch.where(counted, loss, 0.0).sum(1)
    if class_total == "mean":
        total = total / counted.sum(1).clamp(min=1)
    return total, counted.any(1)


def _mine(
    logits: Float[Tensor, "group candidate column"],
    there: Bool[Tensor, "group candidate column"],
    positives: Int[Tensor, "group column"],
    ranking: _Ranking,
) -> tuple[Float[Tensor, "group mined column"], Bool[Tensor, "group mined column"]]:
    """Return the scores of the negatives that count, and which of the places hold one."""
    if ranking.mining == "ohem":
        hardest, kept, _ = take_highest(logits, there, (ranking.ratio * positives).long())
        return ranking.score_of(hardest), kept
    score = ranking.score_of(logits)
    return _interval_means(score, there, ranking.groups) if ranking.mining == "group" else (score, there)


def _interval_means(
    score: Float[Tensor, "group candidate column"], there: Bool[Tensor, "group candidate column"], groups: int
) -> tuple[Float[Tensor, "group bin column"], Bool[Tensor, "group bin column"]]:
    """Mean score of each of ``groups`` intervals of equal width from the lowest to the highest score that is there."""
    live = score.detach()
    low = torch.where(there, live, -ABSENT).amin(1, keepdim=True)
    high = torch.where(there, live, ABSENT).amax(1, keepdim=True)
    scale = torch.where(high > low, groups / (high - low), 0.0)
    interval = (live - low).mul_(scale).clamp_(0, groups - 1)
    interval = torch.where(there, interval, groups)  # a last one, dropped below, for what is not there
    shape = (score.shape[0], score.shape[2], groups + 1)
    first = torch.arange(shape[0] * shape[1], device=score.device).view(shape[0], 1, shape[1]) * (groups + 1)
    place = interval.long().add_(first).flatten()
    size = live.new_zeros(math.prod(shape)).scatter_add(0, place, live.new_ones(1).expand_as(place))
    means = _SumAt.apply(score.flatten(), place, size.numel()) / size.clamp(min=1)
    means, filled = (column.view(shape).transpose(1, 2)[:, :groups] for column in (means, size > 0))
    return means, filled


class _SumAt(torch.autograd.Function):
    """``zeros(number).scatter_add(0, place, values)``; the backward of torch's own is several times slower."""

    @staticmethod
    def forward(values: Tensor, place: Tensor, number: int) -> Tensor:
        return values.new_zeros(number).scatter_add(0, place, values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], _output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (place,) = ctx.saved_tensors
        return grad.index_select(0, place), None, None


class _Sides(NamedTuple):
    """What is ranked: in each column of each group, its positives above its negatives."""

    neg: Float[Tensor, "group mined column"]
    neg_there: Bool[Tensor, "group mined column"]
    pos: Float[Tensor, "group object"]
    pos_there: Bool[Tensor, "group object"]
    column: Int[Tensor, "group object"]  # of each positive
    positives: Int[Tensor, "group column"]  # their number


def _rank(sides: _Sides, ranking: _Ranking) -> tuple[Float[Tensor, "group column"], Bool[Tensor, "group column"]]:
    """Return the loss of each column, and which columns have a pair; the loss of the others is finite but void."""
    sums = _sums_exp(sides, ranking.score) if ranking.surrogate == "exp" else _sums_chebyshev(sides, ranking.surrogate)
    if ranking.reweight:
        # sum z L = S2 / S1. With z constant its gradient is that of S2 / 2 over S1.
        log_loss = (sums.log_square + sums.log_square.detach()) / 2 - sums.log_once.detach()
    else:
        log_loss = sums.log_once - (sides.neg_there.sum(1) * sides.positives).clamp(min=1).to(sums.log_once.dtype).log()
    counted = sums.has_negatives & (sides.positives > 0)
    return log_loss if ranking.score == "logit" else log_loss.exp(), counted


class _Sums(NamedTuple):
    """Logarithms of the sums over a column's pairs of L(n - p) and of its square."""

    log_once: Float[Tensor, "group column"]
    log_square: Float[Tensor, "group column"]
    has_negatives: Bool[Tensor, "group column"]


def _sums_exp(sides: _Sides, score: Score) -> _Sums:
    """Sums of e^(n - p) over pairs are products of sums over sides."""
    neg, neg_there, pos, pos_there, column, positives = sides
    neg_shift = pos_shift = neg.new_zeros(positives.shape)
    if score == "logit":  # probabilities need no shift
        neg_shift = torch.where(neg_there, neg.detach(), ABSENT).amax(1)
        opposite = torch.where(pos_there, -pos.detach(), ABSENT)
        pos_shift = pos.new_full(positives.shape, ABSENT).scatter_reduce(1, column, opposite, "amax")
        neg, pos = neg - neg_shift.unsqueeze(1), pos + pos_shift.gather(1, column)
    neg_exp = torch.where(neg_there, neg, ABSENT).exp()
    pos_exp = torch.where(pos_there, -pos, ABSENT).exp()
    tiny = torch.finfo(neg.dtype).tiny
    neg_sums = [part.sum(1) for part in (neg_exp, neg_exp.square())]
    pos_sums = [_sum_by_column(part, column, positives.shape[1]) for part in (pos_exp, pos_exp.square())]
    logs = [
        neg_sum.clamp(min=tiny).log() + pos_sum.clamp(min=tiny).log() + power * (neg_shift + pos_shift)
        for power, neg_sum, pos_sum in zip((1, 2), neg_sums, pos_sums, strict=True)
    ]
    return _Sums(logs[0], logs[1], neg_sums[0] > 0)


def _sums_chebyshev(sides: _Sides, surrogate: Surrogate) -> _Sums:
    """Sums of a surrogate that does not separate, exact to rounding."""
    neg, neg_there, pos, pos_there, column, positives = sides
    order = chebyshev_order(1.0, neg.dtype)
    neg_moments = chebyshev_moments(neg, neg_there.to(neg.dtype), order)
    values = chebyshev_values(pos, order) * pos_there.unsqueeze(2)
    pos_moments = _sum_by_column(values, column.unsqueeze(2).expand_as(values), positives.shape[1])
    once = pair_sum(lambda gap: surrogate_of(gap, surrogate), neg_moments, pos_moments)
    square = pair_sum(lambda gap: surrogate_of(gap, surrogate).square(), neg_moments, pos_moments)
    tiny = torch.finfo(neg.dtype).tiny
    return _Sums(once.clamp(min=tiny).log(), square.clamp(min=tiny).log(), neg_moments[..., 0] > 0)


def surrogate_of(gap: Tensor, surrogate: Surrogate) -> Tensor:
    """Return L(gap)."""
    if surrogate == "exp":
        return gap.exp()
    return gap.sigmoid() if surrogate == "sigmoid" else F.softplus(gap)


def surrogate_slope(gap: Tensor, surrogate: Surrogate) -> Tensor:
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
    alpha: Steepness = 1.0,
    surrogate: Surrogate = "exp",
    pair_total: Total = "mean",
    max_positives: Count = MAX_POSITIVES,
    scope: Scope = "image",
    reduction: Reduction = "mean",
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
        alpha: Steepness, > 0, at most 50.
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
        >>> iou = torch.tensor([[0.9, 0.5]])
        >>> round(iou_ranking_loss(torch.zeros(1, 2, 1), torch.tensor([[0, 0]]), iou=iou).item(), 4)
        1.0
    """
    iou = require_iou("iou_ranking_loss", iou)
    level = labels.new_zeros(labels.shape[1]) if level is None else level
    iou, level = to_groups(scope, logits, labels, iou, level.expand_as(labels))[2:]
    terms = _iou_terms(_scene(scope, logits, labels), iou, level, alpha, surrogate, pair_total, max_positives)
    return reduce_groups(*terms, reduction)


class IoURankingLoss(ClassificationLoss):
    """Module form of :func:`iou_ranking_loss`."""

    function = staticmethod(iou_ranking_loss)


def _iou_terms(
    scene: _Scene,
    iou: Float[Tensor, "group candidate"],
    level: Int[Tensor, "group candidate"],
    alpha: float,
    surrogate: Surrogate,
    pair_total: Total,
    max_positives: int,
) -> tuple[Float[Tensor, " group"], Bool[Tensor, " group"]]:
    """Return the loss of each group and which groups have a pair."""
    prob, there, place = take_highest(scene.own_logit.sigmoid(), scene.there, scene.there.sum(1), max_positives)
    label, source = scene.own_class.gather(1, place), scene.source.gather(1, place)
    overlap = positive_iou(iou.gather(1, source), there)
    pairs = (prob.detach(), overlap.detach(), label, level.gather(1, source), there)
    loss, counted, slopes = _pair_terms(*pairs, alpha, surrogate, pair_total)
    return with_gradient(loss, (prob, overlap), slopes), counted


def _pair_terms(
    prob: Float[Tensor, "group object"],
    overlap: Float[Tensor, "group object"],
    label: Int[Tensor, "group object"],
    level: Int[Tensor, "group object"],
    there: Bool[Tensor, "group object"],
    alpha: float,
    surrogate: Surrogate,
    pair_total: Total,
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
    surrogate: Surrogate = "exp",
    mining: Mining = "group",
    global_groups: Groups = 15,
    class_groups: Groups = 3,
    ratio: Positive = 3.0,
    alpha: Steepness = 1.0,
    global_weight: NonNegative = 1.0,
    class_weight: NonNegative = 1.0,
    iou_weight: NonNegative = 1.0,
    scope: Scope = "image",
    reduction: Reduction = "mean",
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
        >>> round(rank_det_loss(torch.zeros(1, 3, 1), torch.tensor([[0, 0, 1]]), iou=iou).item(), 4)
        3.0
    """
    overall, per_class = (_Ranking(surrogate, mining, groups, ratio) for groups in (global_groups, class_groups))
    scene = _scene(scope, logits, labels)
    loss = reduce_groups(*_global_terms(scene, overall, "zero"), reduction)
    if logits.shape[2] == 1 and (mining != "group" or overall == per_class):
        loss = (global_weight + class_weight) * loss  # with one class the two terms are one and the same
    else:
        loss = global_weight * loss + class_weight * reduce_groups(*_class_terms(scene, per_class, "sum"), reduction)
    if iou_weight:
        iou = require_iou("rank_det_loss with iou_weight > 0", iou)
        level = labels.new_zeros(labels.shape[1]) if level is None else level
        iou, level = to_groups(scope, logits, labels, iou, level.expand_as(labels))[2:]
        terms = _iou_terms(scene, iou, level, alpha, surrogate, "mean", MAX_POSITIVES)
        loss = loss + iou_weight * reduce_groups(*terms, reduction)
    return loss


class RankDetLoss(ClassificationLoss):
    """Module form of :func:`rank_det_loss`."""

    function = staticmethod(rank_det_loss)
    prior_prob: ClassVar[float] = 0.5
