"""The losses, from the papers' formulas, in plain Python: lists, loops over pairs, no vectorisation.

Every classification oracle has the signature ``(logits, labels, iou, level, frozen, **options)`` with nested lists
``logits[image][candidate][class]``. ``frozen`` is a :class:`Frozen` or None: where a paper stops the gradient, the
weight is computed from the frozen inputs instead, so that a finite difference of the oracle at ``frozen`` is the
paper's gradient.
"""

# ruff: noqa: ARG001  (all oracles have one signature)
import math
from dataclasses import dataclass

Grid = list[list[float]]
Cube = list[Grid]


@dataclass
class Frozen:
    logits: Cube
    iou: Grid


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def groups(logits, labels, scope, iou=None, level=None):
    """Yield per group a list of candidates (logits, label, iou, level)."""
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
    for group in groups(logits, labels, scope):
        total, positives = 0.0, 0
        for row, label, *_ in group:
            if label >= 0:
                total += sum(focal_entry(x, label == c, alpha, gamma) for c, x in enumerate(row))
                positives += label < len(row)
        values.append(total / max(positives, 1))
        counted.append(has_candidates(group))
    return mean_over(values, counted)


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
    stopped = groups(frozen.logits, labels, scope) if detach_q and frozen else groups(logits, labels, scope)
    for group, stopped_group in zip(groups(logits, labels, scope), stopped, strict=True):
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
