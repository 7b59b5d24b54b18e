"""Claims of the AP loss paper, beyond the contract."""

import pytest
import torch

from lidar_rank.losses import APLoss, ap_loss
from tests.losses.problems import make_problem


@pytest.mark.parametrize("interpolate", [False, True])
def test_is_average_precision_of_a_clear_ranking(interpolate):
    """Scores further apart than delta: the textbook number. Hits at ranks 1, 3, 4 of 5."""
    logits = torch.tensor([[[50.0], [40.0], [30.0], [20.0], [10.0]]], dtype=torch.float64)
    labels = torch.tensor([[0, 1, 0, 0, 1]])
    precision = [1, 3 / 4, 3 / 4] if interpolate else [1, 2 / 3, 3 / 4]
    want = 1 - sum(precision) / 3
    assert ap_loss(logits, labels, interpolate=interpolate).item() == pytest.approx(want)


def test_errors_cancel():
    """What pushes positives up pushes negatives down."""
    problem = make_problem(0)
    problem.logits.requires_grad_()
    ap_loss(problem.logits, problem.labels).backward()
    assert problem.logits.grad.sum().item() == pytest.approx(0, abs=1e-12)
    own = torch.nn.functional.one_hot(problem.labels.clamp(0), 4)[..., :3].bool() & (problem.labels >= 0)[..., None]
    assert (problem.logits.grad[own] <= 0).all()
    assert (problem.logits.grad[~own] >= 0).all()


def test_perfect_ranking_has_no_loss():
    logits, labels = torch.tensor([[[5.0], [-5.0]]], requires_grad=True), torch.tensor([[0, 1]])
    loss = ap_loss(logits, labels)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_gradient_scales_with_what_comes_in():
    """The public code drops the incoming gradient of a hand-set one."""
    problem = make_problem(1)
    gradients = []
    for weight in (1.0, 3.0):
        logits = problem.logits.clone().requires_grad_()
        (weight * APLoss()(logits, problem.labels)).backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(3 * gradients[0], gradients[1])
