"""Pair sums against pairs."""

import pytest
import torch
from torch.nn import functional as F

from lidar_rank.losses._pairs import chebyshev_moments, chebyshev_order, pair_sum, truncated_power_sums


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
