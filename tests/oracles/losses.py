"""The losses, from the papers' formulas, in plain Python: lists, loops over pairs, no vectorisation.

Every classification oracle has the signature ``(logits, labels, iou, level, frozen, **options)`` with nested lists
``logits[image][candidate][class]``. ``frozen`` is a :class:`Frozen` or None: where a paper stops the gradient, the
weight is computed from the frozen inputs instead, so that a finite difference of the oracle at ``frozen`` is the
paper's gradient.
"""

# ruff: noqa: ARG001  (all oracles have one signature)
import math
from dataclasses import dataclass
from functools import lru_cache

Grid = list[list[float]]
Cube = list[Grid]


@dataclass
class Frozen:
    logits: Cube | None = None
    iou: Grid | None = None
    pred: Grid | None = None


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def split(logits, labels, scope, iou=None, level=None):
    """Return, per group, its list of candidates (logits, label, iou, level)."""
    rows = [
        [
            (logits[b][n], labels[b][n], iou[b][n] if iou else None, level[n] if level else 0)
            for n in range(len(labels[b]))
        ]
        for b in range(len(labels))
    ]
    return rows if scope == "image" else [[row for image in rows for row in image]]


def mean_over(values, counted):
    kept = [value for value, keep in zip(values, counted, strict=True) if keep]
    return sum(kept) / len(kept) if kept else 0.0


def entries(group, score=sigmoid):
    """Positive scores and negative scores of a group, over all its (candidate, class) entries."""
    positive, negative = [], []
    for logits, label, *_ in group:
        for c, x in enumerate(logits):
            if label == c:
                positive.append(score(x))
            elif label >= 0:
                negative.append(score(x))
    return positive, negative


def has_candidates(group):
    return any(label >= 0 for _, label, *_ in group)


# ------------------------------------------------------------------------------------------------------- pointwise


def focal_entry(x, positive, alpha, gamma):
    p = sigmoid(x)
    if positive:
        return alpha * (1 - p) ** gamma * softplus(-x)
    return (1 - alpha) * p**gamma * softplus(x)


def sigmoid_focal(logits, labels, iou, level, frozen, *, alpha=0.25, gamma=2.0, scope="batch"):
    values, counted = [], []
    for group in split(logits, labels, scope):
        total, positives = 0.0, 0
        for row, label, *_ in group:
            if label >= 0:
                total += sum(focal_entry(x, label == c, alpha, gamma) for c, x in enumerate(row))
                positives += label < len(row)
        values.append(total / max(positives, 1))
        counted.append(has_candidates(group))
    return mean_over(values, counted)


def cross_entropy(logits, labels, iou, level, frozen, *, scope="batch"):
    values, counted = [], []
    for group in split(logits, labels, scope):
        positive, negative = entries(group, score=float)
        total = sum(softplus(-x) for x in positive) + sum(softplus(x) for x in negative)
        values.append(total / max(len(positive) + len(negative), 1))
        counted.append(has_candidates(group))
    return mean_over(values, counted)


def ohem(logits, labels, iou, level, frozen, *, ratio=3.0, min_negatives=100, scope="image"):
    values, counted = [], []
    for group in split(logits, labels, scope):
        positive, negative = entries(group, score=float)
        quota = int(ratio * len(positive)) if positive else min_negatives
        hardest = sorted((softplus(x) for x in negative), reverse=True)[:quota]
        total = sum(softplus(-x) for x in positive) + sum(hardest)
        values.append(total / (len(positive) or max(min_negatives / ratio, 1.0)))
        counted.append(has_candidates(group))
    return mean_over(values, counted)


# ---------------------------------------------------------------------------------------------------- box quality


def cross_entropy_to(x, q):
    return q * softplus(-x) + (1 - q) * softplus(x)


def box_quality(overlap, target, min_quality):
    return max(overlap if target == "linear" else min(max(2 * overlap - 0.5, 0.0), 1.0), min_quality)


def over_positives(logits, labels, iou, scope, entry):
    """Sum of ``entry(x, q)`` over all entries, q None where it is no object's own class, over the number of objects."""
    values, counted = [], []
    for group in split(logits, labels, scope, iou):
        total, positives = 0.0, 0
        for row, label, overlap, _ in group:
            if label >= 0:
                total += sum(entry(x, overlap if label == c else None) for c, x in enumerate(row))
                positives += label < len(row)
        values.append(total / max(positives, 1))
        counted.append(has_candidates(group))
    return mean_over(values, counted)


def quality_focal(
    logits, labels, iou, level, frozen, *, beta=2.0, target="linear", min_quality=0.0, scope="batch"
):  # fmt: skip
    def entry(x, overlap):
        q = 0.0 if overlap is None else box_quality(overlap, target, min_quality)
        return abs(q - sigmoid(x)) ** beta * cross_entropy_to(x, q)

    return over_positives(logits, labels, iou, scope, entry)


def varifocal(
    logits, labels, iou, level, frozen, *, alpha=0.75, gamma=2.0, iou_weighted=True, target="linear", min_quality=0.0,
    scope="batch",
):  # fmt: skip
    def entry(x, overlap):
        q = 0.0 if overlap is None else box_quality(overlap, target, min_quality)
        weight = (q if iou_weighted else 1.0) if q > 0 else alpha * sigmoid(x) ** gamma
        return weight * cross_entropy_to(x, q)

    return over_positives(logits, labels, iou, scope, entry)


# -------------------------------------------------------------------------------------------------------------- DR


NEG_TEMPERATURE = 0.1 / math.log(3.5)


def dr_surrogate(z, surrogate, sharpness=6.0, rho=0.5):
    if surrogate == "logistic":
        return softplus(sharpness * z) / sharpness
    if surrogate == "hinge":
        return max(z, 0.0)
    if z >= rho:
        return z
    return 0.0 if z <= -rho else (z + rho) ** 2 / (4 * rho)


def soft_mean(scores, slope, at, prior=None):
    """Mean of ``scores`` under weights prior * exp(slope * at)."""
    top = max(slope * a for a in at)
    weight = [math.exp(slope * a - top) * (prior[i] if prior else 1.0) for i, a in enumerate(at)]
    return sum(w * s for w, s in zip(weight, scores, strict=True)) / sum(weight)


def dr(
    logits, labels, iou, level, frozen, *, margin=0.5, pos_temperature=1.0, neg_temperature=NEG_TEMPERATURE,
    surrogate="logistic", sharpness=6.0, rho=0.5, scale=4.0, topk_neg=None, detach_q=False, ablation="none",
    scope="image",
):  # fmt: skip
    values, counted = [], []
    stopped = split(frozen.logits, labels, scope) if detach_q and frozen else split(logits, labels, scope)
    for group, stopped_group in zip(split(logits, labels, scope), stopped, strict=True):
        (pos, neg), (pos_at, neg_at) = entries(group), entries(stopped_group)
        if topk_neg is not None:
            chosen = sorted(range(len(neg)), key=lambda i: -neg[i])[:topk_neg]
            neg, neg_at = [neg[i] for i in chosen], [neg_at[i] for i in chosen]
        if not pos:
            pos, pos_at = [1.0], [1.0]
        if not neg:
            neg, neg_at = [0.0], [0.0]
        neg_mean = soft_mean(neg, 1 / neg_temperature, neg_at)
        pos_mean = soft_mean(pos, -1 / pos_temperature, pos_at)
        gaps = {
            "none": [neg_mean - pos_mean],
            "neg_only": [neg_mean - p for p in pos],
            "all": [n - p for n in neg for p in pos],
            "worst": [max(neg) - min(pos)],
        }[ablation]
        losses = [dr_surrogate(gap + margin, surrogate, sharpness, rho) for gap in gaps]
        values.append(scale * sum(losses) / len(losses))
        counted.append(has_candidates(group))
    return mean_over(values, counted)


# ------------------------------------------------------------------------------------------------------ RankDetNet

SURROGATE = {
    "exp": math.exp,
    "sigmoid": sigmoid,
    "logistic": softplus,
}


def mine(negative, positives, mining, count, ratio):
    """Which negatives of a column count: scores, or means of score intervals."""
    if mining == "ohem":
        return sorted(negative, reverse=True)[: int(ratio * positives)]
    if mining == "none" or not negative:
        return negative
    low, high = min(negative), max(negative)
    intervals = [[] for _ in range(count)]
    for n in negative:
        place = (n - low) / (high - low) * count if high > low else 0
        intervals[min(int(place), count - 1)].append(n)
    return [sum(interval) / len(interval) for interval in intervals if interval]


def rank_pairs(neg, pos, stopped_neg, stopped_pos, surrogate, reweight, score):
    """sum z L over pairs, z from the stopped scores; None without a pair."""
    loss = SURROGATE[surrogate]
    if not neg or not pos:
        return None
    weights = [loss(n - p) if reweight else 1.0 for n in stopped_neg for p in stopped_pos]
    terms = [loss(n - p) for n in neg for p in pos]
    total = sum(w * t for w, t in zip(weights, terms, strict=True)) / sum(weights)
    return math.log(total) if score == "logit" else total


def global_sides(group, f, mining, count, ratio, empty="zero"):
    classes = len(group[0][0]) if group else 0
    neg = [f(max(row)) for row, label, *_ in group if label == classes]
    pos = [f(row[label]) for row, label, *_ in group if 0 <= label < classes]
    if not pos and empty == "virtual":
        pos = [1.0]
    return mine(neg, len(pos), mining, count, ratio), pos


def global_ranking(
    logits, labels, iou, level, frozen, *, surrogate="exp", mining="group", groups=15, ratio=3.0, reweight=True,
    score="prob", empty="zero", scope="image",
):  # fmt: skip
    f = sigmoid if score == "prob" else float
    stopped = frozen.logits if frozen else logits
    values = []
    for live, held in zip(split(logits, labels, scope), split(stopped, labels, scope), strict=True):
        (neg, pos), (held_neg, held_pos) = (
            global_sides(group, f, mining, groups, ratio, empty) for group in (live, held)
        )
        values.append(rank_pairs(neg, pos, held_neg, held_pos, surrogate, reweight, score))
    return mean_over(values, [value is not None for value in values])


def class_sides(group, c, f, mining, count, ratio):
    neg = [f(row[c]) for row, label, *_ in group if label >= 0 and label != c]
    pos = [f(row[c]) for row, label, *_ in group if label == c]
    return mine(neg, len(pos), mining, count, ratio), pos


def class_ranking(
    logits, labels, iou, level, frozen, *, surrogate="exp", mining="group", groups=3, ratio=3.0, reweight=True,
    score="prob", class_total="sum", scope="image",
):  # fmt: skip
    f = sigmoid if score == "prob" else float
    stopped = frozen.logits if frozen else logits
    values, counted = [], []
    for live, held in zip(split(logits, labels, scope), split(stopped, labels, scope), strict=True):
        per_class = []
        for c in range(len(live[0][0])):
            (neg, pos), (held_neg, held_pos) = (
                class_sides(group, c, f, mining, groups, ratio) for group in (live, held)
            )
            per_class.append(rank_pairs(neg, pos, held_neg, held_pos, surrogate, reweight, score))
        per_class = [value for value in per_class if value is not None]
        values.append(sum(per_class) / (len(per_class) or 1 if class_total == "mean" else 1))
        counted.append(bool(per_class))
    return mean_over(values, counted)


def iou_ranking(
    logits, labels, iou, level, frozen, *, alpha=1.0, surrogate="exp", pair_total="mean", max_positives=2048,
    scope="image",
):  # fmt: skip
    """The overlap of the member with the lower score is taken from ``frozen``."""
    held_iou = frozen.iou if frozen else iou
    values, counted = [], []
    for live, held in zip(
        split(logits, labels, scope, iou, level), split(logits, labels, scope, held_iou, level), strict=True
    ):
        members = {}
        for (row, label, s, k), (_, _, held_s, _) in zip(live, held, strict=True):
            if 0 <= label < len(row):
                members.setdefault((label, k), []).append((sigmoid(row[label]), s, held_s))
        means = []
        for objects in members.values():
            terms = []
            for i, (f_i, s_i, held_i) in enumerate(objects):
                for j, (f_j, s_j, held_j) in enumerate(objects):
                    if i != j:
                        gain = (s_i - held_j) if f_i > f_j else (held_i - s_j)
                        terms.append(SURROGATE[surrogate](-alpha * (f_i - f_j) * gain))
            if terms:
                means.append(sum(terms) / (len(terms) if pair_total == "mean" else 1))
        values.append(sum(means) / (len(means) or 1 if pair_total == "mean" else 1))
        counted.append(bool(means))
    return mean_over(values, counted)


def rank_det(
    logits, labels, iou, level, frozen, *, surrogate="exp", mining="group", global_groups=15, class_groups=3, ratio=3.0,
    alpha=1.0, global_weight=1.0, class_weight=1.0, iou_weight=1.0, scope="image",
):  # fmt: skip
    inputs = (logits, labels, iou, level, frozen)
    mined = {"surrogate": surrogate, "mining": mining, "ratio": ratio, "scope": scope}
    total = global_weight * global_ranking(*inputs, groups=global_groups, **mined)
    total += class_weight * class_ranking(*inputs, groups=class_groups, **mined)
    return total + iou_weight * iou_ranking(*inputs, alpha=alpha, surrogate=surrogate, scope=scope)


# ------------------------------------------------------------------------------------------------------------- GHM


@lru_cache(maxsize=8)
def densities(norms, bins, density, norm):
    """GD of each of the norms, by counting."""
    if density == "exact":
        windows = [(g - 0.5 / bins, g + 0.5 / bins) for g in norms]
        return [sum(low <= k < high for k in norms) / (min(high, 1) - max(low, 0)) for low, high in windows]
    regions = [min(int(g * bins), bins - 1) for g in norms]
    return [regions.count(region) * (bins if norm == "paper" else len(set(regions))) for region in regions]


def harmonised(losses, norms, bins, density, norm, max_weight):
    """(1/N) sum beta_i loss_i, beta_i = N / GD(g_i)."""
    total = 0.0
    for loss, gd in zip(losses, densities(tuple(norms), bins, density, norm), strict=True):
        beta = len(norms) / gd
        total += (beta if max_weight is None else min(beta, max_weight)) * loss / len(norms)
    return total


def ghm_c(logits, labels, iou, level, frozen, *, bins=30, density="unit", norm="paper", max_weight=None):
    def wrong(cube):
        """Logits against the truth: positive where the prediction is wrong."""
        positive, negative = entries(split(cube, labels, "batch")[0], score=float)
        return [-x for x in positive] + negative

    live = wrong(logits)
    norms = [sigmoid(x) for x in (wrong(frozen.logits) if frozen else live)]
    return harmonised([softplus(x) for x in live], norms, bins, density, norm, max_weight)


def ghm_r(
    pred, target, iou, frozen, *, mu=0.02, bins=10, density="unit", norm="paper", dimensions=1, max_weight=None
):  # fmt: skip
    def errors(boxes):
        rows = [[p - t for p, t in zip(ps, ts, strict=True)] for ps, ts in zip(boxes, target, strict=True)]
        return [[d for row in rows for d in row]] if dimensions == 1 else list(zip(*rows, strict=True))

    total = 0.0
    for live, held in zip(errors(pred), errors(frozen.pred if frozen else pred), strict=True):
        norms = [abs(d) / math.sqrt(d * d + mu * mu) for d in held]
        total += harmonised([asl1_coordinate(d, mu) for d in live], norms, bins, density, norm, max_weight)
    return total / dimensions


# ---------------------------------------------------------------------------------------------------- IoU-balanced


def balanced(overlaps, losses, exponent):
    """Weights iou^exponent that keep the sum of the losses; 1 if they would all vanish."""
    powers = [overlap**exponent for overlap in overlaps]
    after = sum(power * loss for power, loss in zip(powers, losses, strict=True))
    if after <= 1e-6 * sum(losses):
        return [1.0] * len(losses)
    return [power * sum(losses) / after for power in powers]


def iou_balanced_cls(
    logits, labels, iou, level, frozen, *, exponent=1.5, base="focal", alpha=0.25, gamma=2.0, scope="batch"
):  # fmt: skip
    def entry(x, positive):
        return focal_entry(x, positive, alpha, gamma) if base == "focal" else softplus(-x if positive else x)

    def positive_terms(group):
        return [(entry(row[label], True), s) for row, label, s, _ in group if 0 <= label < len(row)]

    held = frozen.logits if frozen else logits
    values, counted = [], []
    for group, stopped in zip(split(logits, labels, scope, iou), split(held, labels, scope, iou), strict=True):
        terms = positive_terms(group)
        weights = balanced([s for _, s in terms], [loss for loss, _ in positive_terms(stopped)], exponent)
        total = sum(weight * loss for weight, (loss, _) in zip(weights, terms, strict=True))
        _, negative = entries(group, score=float)
        total += sum(entry(x, False) for x in negative)
        values.append(total / max(len(terms) if base == "focal" else len(terms) + len(negative), 1))
        counted.append(has_candidates(group))
    return mean_over(values, counted)


def iou_balanced_loc(pred, target, iou, frozen, *, exponent=1.5, w_loc=3.049, beta=1 / 9):
    def rows(boxes):
        return [
            sum(smooth_l1_coordinate(p - t, beta) for p, t in zip(ps, ts, strict=True))
            for ps, ts in zip(boxes, target, strict=True)
        ]

    if w_loc == "normalised":
        weights = balanced(iou, rows(frozen.pred if frozen else pred), exponent)
    else:
        weights = [w_loc * overlap**exponent for overlap in iou]
    return sum(weight * loss for weight, loss in zip(weights, rows(pred), strict=True)) / max(len(pred), 1)


# ------------------------------------------------------------------------------------------ AP, RankSort, aLRP, CCC


def soft_step(x, delta):
    if delta == 0:
        return float(x >= 0)
    return min(max(x / (2 * delta) + 0.5, 0.0), 1.0)


def sides(logits, labels, iou, scope):
    """Per group: places and logits of its positives and of its negatives, and the overlaps of its positives."""
    images = [[b] for b in range(len(labels))] if scope == "image" else [range(len(labels))]
    for group in images:
        places = [(b, n, c) for b in group for n in range(len(labels[b])) for c in range(len(logits[b][n]))]
        pos = [place for place in places if labels[place[0]][place[1]] == place[2]]
        neg = [place for place in places if labels[place[0]][place[1]] not in (-1, place[2])]
        pos_x, neg_x = ([logits[b][n][c] for b, n, c in side] for side in (pos, neg))
        yield pos, neg, pos_x, neg_x, [iou[b][n] for b, n, _ in pos]


def mean_over_objects(logits, labels, iou, scope, value):
    """Mean over the groups that have objects of ``value(pos, neg, overlaps)``."""
    values = [value(x, n, y) if x else 0.0 for _, _, x, n, y in sides(logits, labels, iou, scope)]
    return mean_over(values, [bool(pos) for pos, *_ in sides(logits, labels, iou, scope)])


def by_hand(logits, labels, iou, scope, slopes):
    """The hand-set gradient of every entry, from ``slopes(pos, neg, overlaps)`` at positives and negatives."""
    gradient = [[[0.0] * len(row) for row in image] for image in logits]
    ranked = 0
    for pos, neg, pos_x, neg_x, overlaps in sides(logits, labels, iou, scope):
        if pos:
            ranked += 1
            for side, values in zip((pos, neg), slopes(pos_x, neg_x, overlaps), strict=True):
                for (b, n, c), slope in zip(side, values, strict=True):
                    gradient[b][n][c] += slope
    return [[[g / max(ranked, 1) for g in row] for row in image] for image in gradient]


def ap_errors(pos, neg, delta, interpolate):
    """Each positive's number of negatives above it, and its error, one minus its precision."""
    false = [sum(soft_step(n - p, delta) for n in neg) for p in pos]
    true = [1 + sum(soft_step(x - p, delta) for k, x in enumerate(pos) if k != i) for i, p in enumerate(pos)]
    precision = [t / (t + f) for t, f in zip(true, false, strict=True)]
    if interpolate:
        precision = [max(precision[k] for k in range(len(pos)) if pos[k] <= p) for p in pos]
    return false, [1 - p for p in precision]


def ap(logits, labels, iou, level, frozen, *, delta=1.0, interpolate=True, scope="batch"):
    def value(pos, neg, _):
        return sum(ap_errors(pos, neg, delta, interpolate)[1]) / len(pos)

    return mean_over_objects(logits, labels, iou, scope, value)


def ap_gradient(logits, labels, iou, *, delta=1.0, interpolate=True, scope="batch"):
    """Each pair (positive, negative above it) pushes both by its share of the positive's error."""

    def slopes(pos, neg, _):
        up, down = [0.0] * len(pos), [0.0] * len(neg)
        for i, (false, error) in enumerate(zip(*ap_errors(pos, neg, delta, interpolate), strict=True)):
            for j, n in enumerate(neg):
                push = error * soft_step(n - pos[i], delta) / false / len(pos) if false else 0.0
                up[i] -= push
                down[j] += push
        return up, down

    return by_hand(logits, labels, iou, scope, slopes)


def rank_sort_of_group(pos, neg, quality, delta, rank_weight, sort_weight):
    """Value and slopes, object by object, as the authors' loop computes them."""
    value, up, down = 0.0, [0.0] * len(pos), [0.0] * len(neg)
    quality = [min(max(q, 1e-6), 1.0) for q in quality]
    for i, x in enumerate(pos):
        objects = [soft_step(other - x, delta) for other in pos]
        background = [soft_step(other - x, delta) for other in neg]
        true, false = sum(objects), sum(background)
        ranking_error = false / (true + false)
        better = [q >= quality[i] for q in quality]
        target = [step if keep else 0.0 for step, keep in zip(objects, better, strict=True)]
        current = sum(step * (1 - q) for step, q in zip(objects, quality, strict=True)) / true
        best = sum(step * (1 - q) for step, q in zip(target, quality, strict=True)) / sum(target)
        sorting_error = current - best
        value += rank_weight * ranking_error + sort_weight * sorting_error
        if false > 0:
            up[i] -= rank_weight * ranking_error
            for j, step in enumerate(background):
                down[j] += rank_weight * ranking_error * step / false
        missorted = [0.0 if keep else step for step, keep in zip(objects, better, strict=True)]
        if sum(missorted) > 0:
            up[i] -= sort_weight * sorting_error
            for k, step in enumerate(missorted):
                up[k] += sort_weight * sorting_error * step / sum(missorted)
    return value / len(pos), [g / len(pos) for g in up], [g / len(pos) for g in down]


def rank_sort(logits, labels, iou, level, frozen, *, delta=0.5, rank_weight=1.0, sort_weight=1.0, scope="batch"):
    def value(*group):
        return rank_sort_of_group(*group, delta, rank_weight, sort_weight)[0]

    return mean_over_objects(logits, labels, iou, scope, value)


def rank_sort_gradient(logits, labels, iou, *, delta=0.5, rank_weight=1.0, sort_weight=1.0, scope="batch"):
    def slopes(*group):
        return rank_sort_of_group(*group, delta, rank_weight, sort_weight)[1:]

    return by_hand(logits, labels, iou, scope, slopes)


def alrp_of_group(pos, neg, overlaps, delta, tau):
    """Classification part, localization part, and slopes at the logits, object by object."""
    error = [(1 - overlap) / (1 - tau) for overlap in overlaps]
    classification, localization = 0.0, 0.0
    up, down = [0.0] * len(pos), [0.0] * len(neg)
    for i, x in enumerate(pos):
        above = [soft_step(other - x, delta) if k != i else 1.0 for k, other in enumerate(pos)]
        background = [soft_step(other - x, delta) for other in neg]
        false = sum(background)
        rank = sum(above) + false
        boxes = sum(step * e for step, e in zip(above, error, strict=True))
        classification += false / rank
        localization += boxes / rank
        if false > 1e-5:
            target = error[i] / rank
            up[i] -= (false + boxes) / rank - target
            for j, step in enumerate(background):
                down[j] += ((false + boxes) / rank - target) * step / false
    number = len(pos)
    return classification / number, localization / number, [g / number for g in up], [g / number for g in down]


def alrp(logits, labels, iou, level, frozen, *, delta=1.0, tau=0.5, loc_weight=1.0, scope="batch"):
    def value(*group):
        classification, localization, *_ = alrp_of_group(*group, delta, tau)
        return classification + loc_weight * localization

    return mean_over_objects(logits, labels, iou, scope, value)


def alrp_gradient(logits, labels, iou, *, delta=1.0, tau=0.5, loc_weight=1.0, scope="batch"):
    return by_hand(logits, labels, iou, scope, lambda *group: alrp_of_group(*group, delta, tau)[2:])


def concordance(logits, labels, iou, level, frozen, *, scope="image"):
    values, counted = [], []
    for _, _, pos, _, overlaps in sides(logits, labels, iou, scope):
        counted.append(len(pos) > 1)
        if not counted[-1]:
            values.append(0.0)
            continue
        scores, degrees = [sigmoid(x) for x in pos], len(pos) - 1
        mean_s, mean_y = sum(scores) / len(pos), sum(overlaps) / len(pos)
        rest = [(s - mean_s, y - mean_y) for s, y in zip(scores, overlaps, strict=True)]
        covariance = sum(s * y for s, y in rest) / degrees
        spread = sum(s * s + y * y for s, y in rest) / degrees + (mean_s - mean_y) ** 2
        values.append(1 - 2 * covariance / max(spread, 1e-6))
    return mean_over(values, counted)


# ---------------------------------------------------------------------------------------------------- localization


def smooth_l1_coordinate(d, beta=1 / 9):
    return 0.5 * d * d / beta if abs(d) < beta else abs(d) - 0.5 * beta


def per_positive(coordinate_loss, pred, target):
    total = sum(
        coordinate_loss(p - t) for ps, ts in zip(pred, target, strict=True) for p, t in zip(ps, ts, strict=True)
    )
    return total / max(len(pred), 1)


def smooth_l1(pred, target, iou, frozen, *, beta=1 / 9):
    return per_positive(lambda d: smooth_l1_coordinate(d, beta), pred, target)


def decaying_smooth_l1(pred, target, iou, frozen, *, step, beta, decay, period, mode="floor"):
    width = max(beta - decay * (step // period if mode == "floor" else step % period), 1e-3)
    return smooth_l1(pred, target, iou, frozen, beta=width)


def asl1_coordinate(d, mu=0.02):
    return math.sqrt(d * d + mu * mu) - mu


def authentic_smooth_l1(pred, target, iou, frozen, *, mu=0.02):
    return per_positive(lambda d: asl1_coordinate(d, mu), pred, target)


def balanced_l1(pred, target, iou, frozen, *, alpha=0.5, gamma=1.5, beta=1.0):
    """Integral of the paper's gradient, by Gauss's rule of three points on 60 panels."""

    def gradient(x):
        return alpha * math.log((math.exp(gamma / alpha) - 1) * x / beta + 1) if x < beta else gamma

    def integral(d, panels=60):
        inner, outer = min(abs(d), beta), max(abs(d) - beta, 0.0)
        half = inner / panels / 2
        total = 0.0
        for panel in range(panels):
            middle = (2 * panel + 1) * half
            for node, weight in [(0.0, 8 / 9), (math.sqrt(0.6), 5 / 9), (-math.sqrt(0.6), 5 / 9)]:
                total += half * weight * gradient(middle + node * half)
        return total + outer * gamma

    return per_positive(integral, pred, target)


# --------------------------------------------------------------------------------------------------- boxes as a whole


def decode(deltas):
    return [*deltas[:3], *(math.exp(min(max(d, -4.0), 4.0)) for d in deltas[3:6]), deltas[6]]


def corners(box):
    x, y, _, length, width, _, yaw = box
    cos, sin = math.cos(yaw), math.sin(yaw)
    ends = [(length / 2, width / 2), (-length / 2, width / 2), (-length / 2, -width / 2), (length / 2, -width / 2)]
    return [(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in ends]


def clip(polygon, start, end):
    """The part of a polygon to the left of the line from ``start`` to ``end`` (Sutherland and Hodgman)."""

    def side(point):
        return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])

    result = []
    for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if side(a) >= 0:
            result.append(a)
        if side(a) * side(b) < 0:
            t = side(a) / (side(a) - side(b))
            result.append((a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))
    return result


def area(polygon):
    if not polygon:
        return 0.0
    x0, y0 = polygon[0]
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return sum((a[0] - x0) * (b[1] - y0) - (b[0] - x0) * (a[1] - y0) for a, b in pairs) / 2


def rotated_iou_of_pair(box, true, kind, enclosing, yaw_weight):
    shared = corners(box)
    edges = corners(true)
    for start, end in zip(edges, edges[1:] + edges[:1], strict=True):
        shared = clip(shared, start, end)
    height = max(min(box[2] + box[5], true[2] + true[5]) - max(box[2], true[2]), 0.0)
    volumes = [part[3] * part[4] * part[5] for part in (box, true)]
    inner = area(shared) * height
    union = sum(volumes) - inner
    loss = 1 - inner / union
    yaw = true[6] if enclosing == "target" else 0.0
    turned = [(x * math.cos(yaw) + y * math.sin(yaw), y * math.cos(yaw) - x * math.sin(yaw)) for x, y in
              corners(box) + corners(true)]  # fmt: skip
    sides = [max(point[axis] for point in turned) - min(point[axis] for point in turned) for axis in (0, 1)]
    sides.append(max(box[2] + box[5], true[2] + true[5]) - min(box[2], true[2]))
    if kind == "giou":
        hull = sides[0] * sides[1] * sides[2]
        loss += (hull - union) / hull
    if kind in ("diou", "odiou"):
        rise = box[2] + box[5] / 2 - true[2] - true[5] / 2
        distance = (box[0] - true[0]) ** 2 + (box[1] - true[1]) ** 2 + rise**2
        loss += distance / sum(side * side for side in sides)
    if kind == "odiou":
        loss += yaw_weight * (1 - abs(math.cos(box[6] - true[6])))
    return loss


def rotated_iou(pred, target, iou, frozen, *, kind="diou", enclosing="target", yaw_weight=1.25):
    pairs = zip(map(decode, pred), map(decode, target), strict=True)
    return sum(rotated_iou_of_pair(*pair, kind, enclosing, yaw_weight) for pair in pairs) / max(len(pred), 1)
