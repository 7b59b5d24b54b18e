"""Gradient harmonising mechanism (GHM): examples weigh less, the more others have the same gradient norm."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidar_rank import devices
from lidar_rank.losses._common import (
    Boxes,
    ClassificationLoss,
    LocalizationLoss,
    classification_loss,
    localization_loss,
    mean_over_ranks,
    reduce_groups,
    reduce_rows,
    set_buffers,
    shared_count,
    truth_sign,
    with_gradient,
)
from lidar_rank.losses._options import Count, Positive, Range, Reduction, checks_options
from lidar_rank.losses._shapes import Bool, Float, Int
from lidar_rank.losses.l1 import authentic_smooth_l1_terms

__all__ = ["GHMCLoss", "GHMRLoss", "ghm_c_loss", "ghm_r_loss"]

Bins = Annotated[int, Range(1, 10_000)]
Density = Literal["unit", "exact"]
Norm = Literal["paper", "valid"]
Momentum = Annotated[float, Range(0, 0.9999)]
LANES = 64  # counters per region: on a GPU additions to one address wait for each other

Smooth = Callable[[Tensor], Tensor]


@classification_loss
def ghm_c_loss(
    logits: Float[Tensor, "image candidate class"],
    labels: Int[Tensor, "image candidate"],
    *,
    iou: Float[Tensor, "image candidate"] | None = None,  # noqa: ARG001
    level: Int[Tensor, " candidate"] | None = None,  # noqa: ARG001
    smooth: Smooth | None = None,
    bins: Bins = 30,
    density: Density = "unit",
    norm: Norm = "paper",
    max_weight: Positive | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Cross entropy of every (candidate, class) entry over the density of its gradient norm in the batch.

    With :math:`g = |p - p^*|`, the gradient norm, N entries that are not ignored and M ``bins``,

    .. math::
        \ell = \frac{1}{N} \sum_i \beta_i \, CE_i, \quad \beta_i = \frac{N}{GD(g_i)}, \quad
        GD(g) = \frac{1}{l(g)} \left|\{k: g - \tfrac{1}{2M} \le g_k < g + \tfrac{1}{2M}\}\right|

    where l is the length of the window within [0, 1]. No gradient passes through the density.

    Source: Li et al., "Gradient Harmonized Single-stage Detector", AAAI 2019.

    Args:
        logits: Raw scores.
        labels: 0..C-1 an object's class, C background, -1 ignored.
        iou: Not used.
        level: Not used.
        smooth: Applied to the counts of the regions, e.g. an average over steps; :class:`GHMCLoss` has one.
        bins: M: regions of [0, 1], or 1 / width of the exact window; 1 to 10,000.
        density: ``"unit"`` counts in M fixed regions (GD is the region's count times M); ``"exact"`` is the formula, in
            O(N log N), and has no ``smooth``.
        norm: GD of a region is its count times M (``"paper"``) or times the number of regions that are not empty
            (``"valid"``, as mmdet computes it: weights grow when gradients gather in few regions).
        max_weight: Upper bound of beta, or None: a region with few entries gives each a weight of thousands.
        reduction: Has no effect but on shape, since the batch is one group: ``"none"`` is (1,). In a distributed run
            unit regions count the entries of all ranks. An exact density is that of the rank's own entries, and
            ``"mean"`` that of the ranks that have any.

    Returns:
        A scalar, or shape (1,) for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> ghm_c_loss(torch.tensor([[[0.0], [3.0]]]), torch.tensor([[0, 1]]))
        tensor(0.1247)
    """
    _check_norm(density, norm)
    # Fresh memory costs a CPU more than arithmetic does: what can be computed in place is.
    sign = truth_sign(labels, logits.shape[2], logits.dtype)
    wrong = logits.detach() * sign
    norms = wrong.sigmoid()
    kept = (labels >= 0).unsqueeze(2).expand_as(norms)
    weight = density_weights(norms.reshape(-1, 1), kept.reshape(-1, 1), bins, density, norm, max_weight, smooth)
    weight = weight.view(norms.shape)
    loss = F.softplus(wrong).mul_(weight).sum().unsqueeze(0)
    gradient = weight.mul_(norms).mul_(sign)  # cross entropy's is the gradient norm, signed
    loss = with_gradient(loss, (logits,), (gradient,))
    if density == "exact":
        return reduce_groups(loss, (labels >= 0).any().unsqueeze(0), reduction)
    return loss if reduction == "none" else loss.squeeze(0)


@localization_loss
def ghm_r_loss(
    pred: Float[Tensor, "positive dimension"],
    target: Float[Tensor, "positive dimension"],
    *,
    iou: Float[Tensor, " positive"] | None = None,  # noqa: ARG001
    boxes: Boxes | None = None,  # noqa: ARG001
    smooth: Smooth | None = None,
    mu: Positive = 0.02,
    bins: Bins = 10,
    density: Density = "unit",
    norm: Norm = "paper",
    dimensions: Count = 1,
    max_weight: Positive | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Authentic smooth L1 of every coordinate over the density of its gradient norm.

    As :func:`ghm_c_loss` with :math:`\ell_i = \sqrt{d_i^2 + \mu^2} - \mu` and its gradient norm
    :math:`g_i = |d_i| / \sqrt{d_i^2 + \mu^2}`; N counts coordinates. The loss is normalised as it stands.

    Source: Li et al., "Gradient Harmonized Single-stage Detector", AAAI 2019. The authors' configuration weighs it by
    10 (``loss_weight``).

    Args:
        pred: Predicted box deltas.
        target: Their truth.
        iou: Not used.
        boxes: Not used.
        smooth: As in :func:`ghm_c_loss`; :class:`GHMRLoss` has one.
        mu: As in :func:`authentic_smooth_l1_loss`, > 0.
        bins: As in :func:`ghm_c_loss`.
        density: As in :func:`ghm_c_loss`.
        norm: As in :func:`ghm_c_loss`.
        dimensions: 1: all coordinates share a density; the number of box dimensions: each has its own, for boxes
            whose dimensions err on different scales.
        max_weight: As in :func:`ghm_c_loss`.
        reduction: ``"none"`` gives one value per positive; ``"mean"`` and ``"sum"`` are the loss. In a distributed
            run as in :func:`ghm_c_loss`.

    Returns:
        A scalar, or shape (positive,) for ``"none"``.

    Raises:
        ValueError: an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> ghm_r_loss(torch.tensor([[0.0, 0.3]]), torch.zeros(1, 2))
        tensor(0.0281)
    """
    _check_norm(density, norm)
    if dimensions not in (1, pred.shape[1]) and pred.numel():
        raise ValueError(f"dimensions must be 1 or pred's {pred.shape[1]}, got {dimensions!r}")
    loss = authentic_smooth_l1_terms(pred - target, mu)
    error = (pred - target).detach().abs()
    norms = error / error.hypot(torch.full((), mu, dtype=error.dtype, device=error.device))
    norms = norms.reshape(-1, dimensions)
    weight = density_weights(norms, torch.ones_like(norms, dtype=torch.bool), bins, density, norm, max_weight, smooth)
    # Densities of their own are D losses over N / D coordinates each; their mean is on the scale of one over N.
    loss = reduce_rows(weight.view_as(loss) * loss / dimensions, "none" if reduction == "none" else "sum")
    if density == "exact" and reduction == "mean":
        return loss / shared_count(loss.new_full((), float(len(pred) > 0)), loss.dtype)
    return loss


def _check_norm(density: Density, norm: Norm) -> None:
    if density == "exact" and norm != "paper":
        raise ValueError(f"norm={norm!r} counts unit regions; density='exact' takes norm='paper'")


def density_weights(
    norms: Float[Tensor, "item column"],
    kept: Bool[Tensor, "item column"],
    bins: int,
    density: Density,
    norm: Norm,
    max_weight: float | None,
    smooth: Smooth | None,
) -> Float[Tensor, "item column"]:
    """1 / GD of every gradient norm, 0 where not kept; each column has its own density.

    The counts of unit regions are averaged over ranks; an exact density is that of the rank's own norms.
    """
    if density == "exact":
        weight = exact_density(norms, kept, 1 / bins).reciprocal()
        if max_weight is not None:
            weight = torch.minimum(weight, max_weight / kept.sum(0))
        return torch.where(kept, weight, 0.0)
    region = (norms * bins).clamp_(max=bins - 1).masked_fill_(~kept, bins).long()  # one more, for what is not kept
    counts = mean_over_ranks(_count(region, bins).to(norms.dtype))
    total = counts.sum(0)
    number = (counts > 0).sum(0) if norm == "valid" else bins
    size = counts if smooth is None else smooth(counts)
    table = 1 / (size * number).clamp(min=torch.finfo(size.dtype).tiny)
    if max_weight is not None:
        table = torch.minimum(table, max_weight / total)
    # One flat look-up: gather along a dimension is several times slower.
    place = (
        region
        if region.shape[1] == 1
        else region * region.shape[1] + torch.arange(region.shape[1], device=region.device)
    )
    return F.pad(table, (0, 0, 0, 1)).flatten().index_select(0, place.flatten()).view(region.shape)


def _count(region: Int[Tensor, "item column"], bins: int) -> Int[Tensor, "bin column"]:
    """How many items of each column are in each region."""
    if devices.on_cpu(region) and region.shape[1] == 1:
        return torch.bincount(region.flatten(), minlength=bins + 1)[:bins, None]
    return _count_in_lanes(region, bins)


def _count_in_lanes(region: Int[Tensor, "item column"], bins: int) -> Int[Tensor, "bin column"]:
    """As :func:`_count`, without reading a value and without a single counter that all items wait for."""
    rest = -region.shape[0] % LANES
    lanes = (F.pad(region, (0, 0, 0, rest), value=bins) if rest else region).view(-1, LANES * region.shape[1])
    counts = region.new_zeros(bins + 1, lanes.shape[1])
    counts.scatter_add_(0, lanes, torch.ones_like(lanes[:1, :1]).expand_as(lanes))
    return counts.view(bins + 1, LANES, region.shape[1]).sum(1)[:bins]


def exact_density(
    norms: Float[Tensor, "item column"], kept: Bool[Tensor, "item column"], width: float
) -> Float[Tensor, "item column"]:
    """GD of every kept norm: how many lie in [g - width / 2, g + width / 2), over the window's length in [0, 1]."""
    # What is not kept goes beyond every window. The sort makes neighbours' searches touch neighbouring memory.
    ordered, order = torch.where(kept, norms, 4.0).t().contiguous().sort(dim=1)
    low, high = ordered - width / 2, ordered + width / 2
    number = torch.searchsorted(ordered, high) - torch.searchsorted(ordered, low)
    length = high.clamp(max=1) - low.clamp(min=0)
    return torch.zeros_like(ordered).scatter(1, order, number / length).t()


class RegionAverage(nn.Module):
    """Exponential average of the region counts over training steps, without the bias of its empty start.

    Args:
        bins: Number of regions.
        columns: Number of densities.
        momentum: Share that the past keeps at each step, in [0, 0.9999]; 0 is the batch alone.
    """

    counts: Tensor
    step: Tensor

    def __init__(self, bins: int, columns: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("counts", torch.zeros(bins, columns))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, counts: Float[Tensor, "bin column"]) -> Float[Tensor, "bin column"]:
        """Return the average with this batch's ``counts``; in training mode also remember it."""
        step = self.step + 1
        # .float(): a module cast to half precision would otherwise lose counts above 65504.
        average = self.momentum * self.counts.float() + (1 - self.momentum) * counts
        if self.training:
            set_buffers(self, counts=average, step=step)
        # 1 - momentum^step, which loses its digits where the momentum is close to 1.
        log_momentum = math.log(self.momentum) if self.momentum else -math.inf
        return average / -torch.expm1(step.to(counts.dtype) * log_momentum)


class GHMCLoss(ClassificationLoss):
    """Module form of :func:`ghm_c_loss` that averages the counts of the unit regions over steps.

    Args:
        momentum: Share of the earlier counts that a step keeps, in [0, 0.9999]; 0 counts the batch alone.
        bins: As in :func:`ghm_c_loss`.
        **options: Those of :func:`ghm_c_loss` and ``loss_weight``, ``nonfinite``.
    """

    function = staticmethod(ghm_c_loss)

    @checks_options
    def __init__(self, *, momentum: Momentum = 0.75, bins: Bins = 30, **options: Any) -> None:
        super().__init__(bins=bins, **options)
        self.average = RegionAverage(bins, 1, momentum)

    def compute(self, logits: Tensor, labels: Tensor, **inputs: Any) -> Tensor:
        """Return the unweighted loss."""
        return super().compute(logits, labels, smooth=self.average, **inputs)


class GHMRLoss(LocalizationLoss):
    """Module form of :func:`ghm_r_loss` that averages the counts of the unit regions over steps.

    Args:
        momentum: Share of the earlier counts that a step keeps, in [0, 0.9999]; 0 counts the batch alone.
        bins: As in :func:`ghm_r_loss`.
        dimensions: As in :func:`ghm_r_loss`.
        **options: Those of :func:`ghm_r_loss` and ``loss_weight``.
    """

    function = staticmethod(ghm_r_loss)

    @checks_options
    def __init__(self, *, momentum: Momentum = 0.7, bins: Bins = 10, dimensions: Count = 1, **options: Any) -> None:
        super().__init__(bins=bins, dimensions=dimensions, **options)
        self.average = RegionAverage(bins, dimensions, momentum)

    def compute(self, pred: Tensor, target: Tensor, **inputs: Any) -> Tensor:
        """Return the unweighted loss."""
        return super().compute(pred, target, smooth=self.average, **inputs)
