"""Claims about the L1 family, beyond the contract."""

import math

import pytest
import torch

from lidar_rank.losses import (
    BalancedL1Loss,
    DecayingSmoothL1Loss,
    authentic_smooth_l1_loss,
    balanced_l1_loss,
    smooth_l1_loss,
)
from tests.losses.problems import make_boxes


@pytest.mark.parametrize("beta", [1 / 9, 1.0])
def test_smooth_l1_is_torchs(beta):
    pred, target, _ = make_boxes()
    want = torch.nn.functional.smooth_l1_loss(pred, target, beta=beta, reduction="sum")
    torch.testing.assert_close(smooth_l1_loss(pred, target, beta=beta, reduction="sum"), want)


def slope(loss, error, **options):
    pred = torch.tensor([[error]], dtype=torch.float64, requires_grad=True)
    loss(pred, torch.zeros(1, 1, dtype=torch.float64), **options).backward()
    return pred.grad.item()


def test_authentic_smooth_l1_gradient_norm():
    """The gradient is d / sqrt(d^2 + mu^2), below 1 everywhere, so that its norm has a density."""
    assert slope(authentic_smooth_l1_loss, 0.02, mu=0.02) == pytest.approx(0.5**0.5)
    assert slope(authentic_smooth_l1_loss, 0.015, mu=0.02) == pytest.approx(0.6)
    assert 0.99 < slope(authentic_smooth_l1_loss, 1.0) < 1


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_balanced_l1_gradient_meets_at_beta(beta):
    below, above = (slope(balanced_l1_loss, beta + shift, beta=beta) for shift in (-1e-9, 1e-9))
    assert below == pytest.approx(1.5)
    assert above == pytest.approx(1.5)
    # More gradient for small errors than smooth L1 of the same width.
    assert slope(balanced_l1_loss, 0.1 * beta, beta=beta) > slope(smooth_l1_loss, 0.1 * beta, beta=beta)


def test_decay_counts_training_steps_and_is_saved():
    pred, target, _ = make_boxes()
    loss = DecayingSmoothL1Loss(beta=0.5, decay=0.2, period=2)
    widths = [0.5, 0.5, 0.3, 0.3, 0.1, 0.1, 1e-3]
    for width in widths:
        torch.testing.assert_close(loss(pred, target), smooth_l1_loss(pred, target, beta=width))
    resumed = DecayingSmoothL1Loss(beta=0.5, decay=0.2, period=2)
    resumed.load_state_dict(loss.state_dict())
    resumed.eval()
    for _ in range(2):
        torch.testing.assert_close(resumed(pred, target), smooth_l1_loss(pred, target, beta=1e-3))
    assert resumed.step == len(widths)


@pytest.mark.parametrize("ratio", [1e-3, 3.0, 70.0])
def test_balanced_l1_of_every_ratio(ratio):
    """Beyond beta the integral of the gradient has a closed form; below, the gradient itself."""
    alpha, beta = 1.5 / ratio, 0.7
    b = math.expm1(ratio)
    at_beta = alpha * beta * ((1 + 1 / b) * ratio - 1)
    for dtype, tolerance in [(torch.float64, 1e-9), (torch.float32, 1e-3)]:
        loss = balanced_l1_loss(
            torch.tensor([[2.0]], dtype=dtype), torch.zeros(1, 1, dtype=dtype), alpha=alpha, beta=beta
        )
        assert loss.item() == pytest.approx(at_beta + 1.5 * (2 - beta), rel=tolerance)
    assert slope(balanced_l1_loss, 0.35, alpha=alpha, beta=beta) == pytest.approx(alpha * math.log1p(b / 2), rel=1e-9)


@pytest.mark.parametrize("ratio", [1e-3, 70.0])
@pytest.mark.parametrize("beta", [1e-6, 1.0, 1e6])
def test_balanced_l1_is_finite_at_its_limits(ratio, beta):
    pred = torch.tensor([[0.0], [1e-30], [1e-6], [1.0], [1e4]], requires_grad=True)
    loss = balanced_l1_loss(pred, torch.zeros_like(pred), alpha=1.5 / ratio, beta=beta)
    loss.backward()
    assert loss.isfinite()
    assert ((pred.grad >= 0) & (pred.grad <= 1.5 * 1.01 / 5)).all()


@pytest.mark.parametrize("alpha", [1.5 / 71, 1501.0])
def test_balanced_l1_refuses_ratios_beyond_float32(alpha):
    with pytest.raises(ValueError, match=r"gamma / alpha must lie in \[0.001, 70\], got 1.5 / "):
        BalancedL1Loss(alpha=alpha)
