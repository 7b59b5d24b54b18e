"""Claims of the focal loss paper, beyond the contract."""

import math

import pytest
import torch

from lidar_rank.losses import sigmoid_focal_loss
from tests.losses.problems import make_problem


def test_gamma_fades_easy_examples():
    """A negative at probability 0.1 costs 100 times less than under cross entropy, one at 0.032 1000 times."""
    labels = torch.tensor([[1]])
    for prob, factor in [(0.1, 100), (math.sqrt(0.001), 1000)]:
        logits = torch.tensor([[[math.log(prob / (1 - prob))]]], dtype=torch.float64)
        focal, entropy = (sigmoid_focal_loss(logits, labels, gamma=gamma) for gamma in (2.0, 0.0))
        assert (entropy / focal).item() == pytest.approx(factor)


def test_alpha_balances():
    logits, labels = torch.zeros(1, 2, 1), torch.tensor([[0, 1]])
    assert sigmoid_focal_loss(logits, labels, alpha=0.0).item() == pytest.approx(math.log(2) / 4)
    grad = torch.autograd.functional.jacobian(lambda x: sigmoid_focal_loss(x, labels, alpha=1.0), logits)
    assert grad[0, 0] < 0
    assert grad[0, 1] == 0


def test_batch_scope_divides_by_the_batchs_positives():
    problem = make_problem(0)
    total = sum(
        sigmoid_focal_loss(problem.logits[i : i + 1], problem.labels[i : i + 1])
        * ((problem.labels[i] >= 0) & (problem.labels[i] < 3)).sum()
        for i in range(2)
    )
    count = ((problem.labels >= 0) & (problem.labels < 3)).sum()
    torch.testing.assert_close(sigmoid_focal_loss(problem.logits, problem.labels), total / count)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("logit", [-1e4, -200.0, -100.0, 200.0])
def test_gamma_below_one_has_a_finite_gradient(gamma, logit):
    """The slope of such a power is infinite at 0, where the probability of an easy example underflows to."""
    logits = torch.tensor([[[logit]]], requires_grad=True)
    sigmoid_focal_loss(logits, torch.tensor([[1]]), gamma=gamma, alpha=0.0).backward()
    assert logits.grad.item() == pytest.approx(1.0 if logit > 0 else 0.0)
