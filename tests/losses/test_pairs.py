"""Pair sums against pairs."""

import pytest
import torch
from torch.nn import functional as F

from lidar_rank.losses._pairs import (
    StepSums,
    chebyshev_moments,
    chebyshev_order,
    pair_sum,
    soft_step,
    truncated_power_sums,
)


def scores(count, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(2, count, generator=generator, dtype=torch.float64)
    values[:, :2] = torch.tensor([0.0, 1.0])  # the ends of the interval
    return values.requires_grad_(), torch.rand(2, count, generator=generator, dtype=torch.float64)


# At the ends of the interval a polynomial's slope loses digits as its degree grows.
@pytest.mark.parametrize(("sharpness", "gradient_tolerance"), [(1.0, 1e-11), (6.0, 1e-11), (20.0, 1e-8)])
@pytest.mark.parametrize("kernel", ["logistic", "logistic squared", "sigmoid", "sigmoid squared"])
def test_chebyshev_sum_is_the_sum_over_pairs(kernel, sharpness, gradient_tolerance):
    def of(gap):
        value = F.softplus(gap, beta=sharpness) if "logistic" in kernel else torch.sigmoid(sharpness * gap)
        return value.square() if "squared" in kernel else value

    (neg, neg_weight), (pos, pos_weight) = scores(300, 0), scores(40, 1)
    order = chebyshev_order(sharpness, torch.float64)
    got = pair_sum(of, chebyshev_moments(neg, neg_weight, order), chebyshev_moments(pos, pos_weight, order))
    want = (of(neg[:, :, None] - pos[:, None, :]) * neg_weight[:, :, None] * pos_weight[:, None, :]).sum((1, 2))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    for side in (neg, pos):
        (got_grad,) = torch.autograd.grad(got.sum(), side, retain_graph=True)
        (want_grad,) = torch.autograd.grad(want.sum(), side, retain_graph=True)
        torch.testing.assert_close(got_grad, want_grad, rtol=0, atol=gradient_tolerance * want_grad.abs().max().item())


@pytest.mark.parametrize("power", [1, 2])
def test_truncated_power_sums_are_the_sum_over_pairs(power):
    (bound, _), (score, weight) = scores(300, 2), scores(40, 3)
    bound = bound[:, 2:].detach().requires_grad_()  # no ties: there the slope is a matter of taste
    got = truncated_power_sums(bound, score, weight, power)
    want = ((bound[:, :, None] - score[:, None, :]).clamp(min=0) ** power * weight[:, None, :]).sum(2)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    for side in (bound, score):
        (got_grad,) = torch.autograd.grad(got.sum(), side, retain_graph=True)
        (want_grad,) = torch.autograd.grad(want.sum(), side, retain_graph=True)
        torch.testing.assert_close(got_grad, want_grad, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("delta", [0.0, 0.05, 0.5, 30.0])
@pytest.mark.parametrize("decimals", [1, 3, 9])
def test_step_sums_are_the_sum_over_pairs(delta, decimals):
    """With one decimal most bounds and items tie, and lie at the ends of steps; with three some do."""
    (bound, bound_weight), (item, item_weight) = scores(40, 4), scores(3000, 5)
    bound, item = ((6 * part.detach() - 3).round(decimals=decimals) for part in (bound, item))
    is_bound, is_item = bound_weight > 0.2, item_weight > 0.2
    bound_weight, item_weight = bound_weight * is_bound, item_weight * is_item
    steps = soft_step(item[:, None] - bound[:, :, None], delta)
    sums = StepSums(bound, is_bound, item, is_item, delta)
    for weight, given in ((is_item.double(), None), (item_weight, item_weight)):
        want = (steps * weight[:, None]).sum(2)
        torch.testing.assert_close(sums.over_items(given)[is_bound], want[is_bound], rtol=1e-12, atol=1e-12)
    want = (steps * bound_weight[:, :, None]).sum(1)
    torch.testing.assert_close(sums.over_bounds(bound_weight)[is_item], want[is_item], rtol=1e-12, atol=1e-12)
    assert (sums.over_bounds(bound_weight)[~is_item] == 0).all()


def test_step_sums_keep_their_digits_beside_huge_scores():
    bound, item = torch.tensor([[0.0, 1.0]]), torch.tensor([[1e30, 0.25, -1e30]])
    everything = torch.ones_like(item, dtype=torch.bool)
    sums = StepSums(bound, everything[:, :2], item, everything, 0.5)
    torch.testing.assert_close(sums.over_items(), torch.tensor([[1.75, 1.0]]))
    torch.testing.assert_close(sums.over_bounds(torch.tensor([[1.0, 2.0]])), torch.tensor([[3.0, 0.75, 0.0]]))
