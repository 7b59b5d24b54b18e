"""Sums over all (negative, positive) pairs without building a pair."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lidar_rank import devices
from lidar_rank.losses._common import ABSENT
from lidar_rank.losses._shapes import Bool, Float, Int

WITHOUT_FLOAT64 = ("mps",)  # devices whose float64 arithmetic is done on the CPU
CELLS = 1 << 14  # of the table of StepSums
MOST_IN_A_CELL = 16  # ends that are compared one by one


class _ChebyshevMoments(torch.autograd.Function):
    """``sum_i weight_i T_l(2 score_i - 1)`` over dim 1 for l < order, without a tensor of order times the size."""

    @staticmethod
    def forward(score: Tensor, weight: Tensor, order: int) -> Tensor:
        x = 2 * score - 1
        # T_l obeys a linear recurrence, so weight * T_l obeys it too.
        last, current = weight.expand_as(score), weight * x
        moments = [last.sum(1), current.sum(1)]
        for _ in range(2, order):
            last, current = current, 2 * x * current - last
            moments.append(current.sum(1))
        return torch.stack(moments, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], _output: Tensor) -> None:
        score, weight, ctx.order = inputs
        ctx.save_for_backward(score, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        score, weight = ctx.saved_tensors
        x = 2 * score - 1
        # d T_l / dx = l U_(l-1), and U has the recurrence of T with another start.
        last, current = torch.zeros_like(x), torch.ones_like(x)
        slope = torch.zeros_like(x)
        for degree in range(1, ctx.order):
            slope += degree * grad[..., degree].unsqueeze(1) * current
            last, current = current, 2 * x * current - last
        return 2 * weight * slope, None, None


def chebyshev_order(sharpness: float, dtype: torch.dtype) -> int:
    """How many Chebyshev terms make a function of ``exp(sharpness * (n - p))`` exact to machine precision.

    n and p lie in [0, 1]. The terms fall like a geometric series whose ratio the nearest singularity sets: here the
    zero of ``1 + exp``, at i pi / sharpness.
    """
    distance = 2 * math.pi / sharpness  # on the scale where [0, 1] is stretched to [-1, 1]
    return 4 + math.ceil(-math.log(torch.finfo(dtype).eps) / math.asinh(distance))


def chebyshev_moments(
    score: Float[Tensor, "group item *column"], weight: Float[Tensor, "group item *column"], order: int
) -> Float[Tensor, "group *column order"]:
    """Chebyshev moments, over the items, of scores in [0, 1]; differentiable in the scores."""
    return _ChebyshevMoments.apply(score, weight, order)


def chebyshev_values(score: Float[Tensor, "group item"], order: int) -> Float[Tensor, "group item order"]:
    """Chebyshev polynomials of scores in [0, 1]: what the moments are sums of."""
    x = 2 * score - 1
    values = [torch.ones_like(x), x]
    for _ in range(2, order):
        values.append(2 * x * values[-1] - values[-2])
    return torch.stack(values, -1)


def pair_sum(
    kernel: Callable[[Tensor], Tensor],
    negative_moments: Float[Tensor, "*group order"],
    positive_moments: Float[Tensor, "*group order"],
) -> Float[Tensor, "*group"]:
    """``sum_ij w_i v_j kernel(n_i - p_j)`` from the Chebyshev moments of n and p.

    On [-1, 1] a smooth kernel is, to machine precision, a polynomial of low degree in n and p.
    """
    order = negative_moments.shape[-1]
    degree = torch.arange(order, dtype=negative_moments.dtype, device=negative_moments.device)
    transform = torch.cos(torch.outer(degree, (degree + 0.5) * (math.pi / order))) * (2 / order)
    transform[0] /= 2
    node = 0.5 + 0.5 * torch.cos((degree + 0.5) * (math.pi / order))
    values = kernel(node[:, None] - node[None, :])
    # Sums instead of matrix products, which a device may compute in less than float32.
    rows = (transform[:, :, None] * values[None]).sum(1)
    coefficients = (rows[:, None, :] * transform[None]).sum(-1)
    weighted = (coefficients * positive_moments[..., None, :]).sum(-1)
    return (negative_moments * weighted).sum(-1)


def truncated_power_sums(
    bound: Float[Tensor, "group query"],
    score: Float[Tensor, "group item"],
    weight: Float[Tensor, "group item"],
    power: int,
) -> Float[Tensor, "group query"]:
    """``sum_j weight_j max(bound_i - score_j, 0)^power`` for power 1 or 2, by one sort and prefix sums.

    Differentiable in ``bound`` and ``score``. Piecewise polynomial kernels are differences of such sums.
    """
    # Prefix sums of float32 lose the small differences that the polynomial below takes.
    wide, score, weight = (_double(values) for values in (bound, score, weight))
    score, order = score.sort(1)
    weight = weight.gather(1, order)
    place = torch.searchsorted(score.detach(), wide.detach().contiguous())
    total = torch.zeros_like(wide)
    for degree in range(power + 1):
        prefix = F.pad((weight * score**degree).cumsum(1), (1, 0)).gather(1, place)
        total = total + math.comb(power, degree) * (-1) ** degree * wide ** (power - degree) * prefix
    return total.to(bound.device, bound.dtype)


def _double(values: Tensor) -> Tensor:
    return (values.cpu() if values.device.type in WITHOUT_FLOAT64 else values).double()


def soft_step(x: Float[Tensor, "..."], delta: float) -> Float[Tensor, "..."]:
    """``min(max(x / 2 delta + 1/2, 0), 1)``; for delta 0 it is 1 from x = 0 on."""
    return (x / (2 * delta) + 0.5).clamp(0, 1) if delta > 0 else (x >= 0).to(x.dtype)


class StepSums:
    """Sums of the softened step :func:`soft_step` over all pairs of few bounds and many items; no pair is built.

    The step is that of ``item - bound``. As a function of the item, a sum over bounds is linear between neighbouring
    ends of steps, so each item needs its place among the sorted ends alone: O((N + B) log B) for N items and B bounds.
    Nothing here is differentiated.

    Args:
        bound: Where the steps are, over groups.
        is_bound: Which places hold one; sums of the others mean nothing.
        item: What is compared with the bounds.
        is_item: Which places hold one.
        delta: Half width of the step, >= 0.
    """

    def __init__(
        self,
        bound: Float[Tensor, "group bound"],
        is_bound: Bool[Tensor, "group bound"],
        item: Float[Tensor, "group item"],
        is_item: Bool[Tensor, "group item"],
        delta: float,
    ) -> None:
        self._like, self._delta = item, delta
        bound, item = _double(bound.detach()), _double(item.detach())
        is_bound, is_item = is_bound.to(bound.device), is_item.to(bound.device)
        # Relative to the lowest bound, and no further out than the ends: prefix sums of huge numbers lose digits.
        lowest = torch.where(is_bound, bound, -ABSENT).amin(1, keepdim=True)
        ends = torch.where(is_bound, bound - lowest, 0.0)
        ends = torch.cat([ends - delta, ends + delta], 1) if delta > 0 else ends
        self._ends, self._order = ends.sort(1)
        self._item = (item - lowest).masked_fill_(~is_item, -math.inf)
        self._item.clamp_(self._ends[:, :1] - 1, self._ends[:, -1:])
        self._place = _places(self._ends, self._item, right=delta == 0)

    def over_items(self, weight: Float[Tensor, "group item"] | None = None) -> Float[Tensor, "group bound"]:
        """``sum_j weight_j H(item_j - bound_i)`` for every bound; weights >= 0, by default 1."""
        weight = None if weight is None else _double(weight)
        number = self._beyond(self._item.new_ones(()).expand_as(self._item) if weight is None else weight)
        if self._delta == 0:
            return self._returned(torch.zeros_like(number).scatter(1, self._order, number))
        ramp = self._beyond(self._item if weight is None else weight * self._item) - number * self._ends
        upper, lower = torch.zeros_like(ramp).scatter(1, self._order, ramp).chunk(2, 1)
        return self._returned(((upper - lower) / (2 * self._delta)).clamp(min=0))

    def over_bounds(self, weight: Float[Tensor, "group bound"]) -> Float[Tensor, "group item"]:
        """``sum_i weight_i H(item_j - bound_i)`` for every item; weights >= 0, 0 where there is no bound."""
        weight = _double(weight)
        if self._delta == 0:
            return self._returned(_sums_below(weight.gather(1, self._order)).gather(1, self._place))
        slope = torch.cat([weight, -weight], 1).gather(1, self._order) / (2 * self._delta)
        total = _sums_below(slope).gather(1, self._place).mul_(self._item)
        total -= _sums_below(slope * self._ends).gather(1, self._place)
        return self._returned(total.clamp_(min=0))

    def _beyond(self, weight: Float[Tensor, "group item"]) -> Float[Tensor, "group end"]:
        """Sum of the weights of the items beyond each end."""
        sums = self._item.new_zeros(len(weight), self._ends.shape[1] + 1).scatter_add(1, self._place, weight)
        return sums[:, 1:].flip(1).cumsum(1).flip(1)

    def _returned(self, sums: Tensor) -> Tensor:
        return sums.to(self._like.device, self._like.dtype)


def _places(
    ends: Float[Tensor, "group end"], item: Float[Tensor, "group item"], right: bool
) -> Int[Tensor, "group item"]:
    """Find many items among few sorted ends, as ``torch.searchsorted`` does, which on a CPU takes several times longer.

    The range of the ends is cut into cells. How many ends lie in lower cells is looked up; only items that share their
    cell with an end are compared with it. A cell with many ends, as ties make, leaves the work to the search.
    """
    if not devices.on_cpu(item) or ends.numel() == 0:
        return torch.searchsorted(ends, item, right=right)
    low, cells = ends[:, :1], min(item.shape[1], CELLS)
    scale = cells / (ends[:, -1:] - low).clamp(min=1e-300)

    def cell_of(values: Tensor) -> Tensor:
        # Rounding keeps the order: a value in a lower cell than an end is less than it. Cell 0 lies below all ends.
        return (values - low).mul_(scale).add_(1).clamp_(0, cells + 1).long()

    cell = cell_of(ends)
    number = torch.zeros(len(ends), cells + 2, dtype=torch.int64).scatter_add(1, cell, torch.ones_like(cell))
    most = int(number.max())
    if most > MOST_IN_A_CELL:
        return torch.searchsorted(ends, item, right=right)
    cell = cell_of(item)
    place = (number.cumsum(1) - number).gather(1, cell)
    group, column = (number.gather(1, cell) > 0).nonzero(as_tuple=True)
    near, first, within = item[group, column], place[group, column], number[group, cell[group, column]]
    passed = torch.zeros_like(first)
    for step in range(most):
        end = ends[group, (first + step).clamp(max=ends.shape[1] - 1)]
        passed += (step < within) & ((end <= near) if right else (end < near))
    return place.index_put_((group, column), first + passed)


def _sums_below(weight: Float[Tensor, "group end"]) -> Float[Tensor, "group place"]:
    return F.pad(weight.cumsum(1), (1, 0))
