"""Claims of the correlation loss paper, beyond the contract."""

import pytest
import torch

from lidar_rank.losses import ConcordanceLoss, SigmoidFocalLoss, SumLoss, concordance_loss
from tests.losses.problems import make_problem

SCORES, OVERLAPS = (0.2, 0.5, 0.9, 0.4), (0.5, 0.6, 0.8, 0.7)


def loss_of(scores, overlaps) -> float:
    logits = torch.tensor(scores, dtype=torch.float64).logit().view(1, -1, 1)
    iou = torch.tensor(overlaps, dtype=torch.float64).view(1, -1)
    return concordance_loss(logits, torch.zeros(1, len(scores), dtype=torch.int64), iou=iou).item()


def test_known_value():
    assert loss_of(SCORES, OVERLAPS) == pytest.approx(0.470199, abs=1e-6)


def test_is_zero_where_scores_are_the_overlaps_and_two_where_they_are_opposite():
    assert loss_of(OVERLAPS, OVERLAPS) == pytest.approx(0)
    assert loss_of((0.2, 0.8), (0.8, 0.2)) == pytest.approx(2)


def test_falls_as_scores_follow_the_overlaps():
    problem = make_problem(0)
    logits = problem.logits.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = concordance_loss(logits, problem.labels, iou=problem.iou)
        loss.backward()
        optimizer.step()
    assert loss < 0.01


def test_equal_scores_and_overlaps_have_a_finite_gradient():
    logits = torch.full((1, 3, 1), 0.3, requires_grad=True)
    iou = torch.full((1, 3), torch.tensor(0.3).sigmoid().item())
    concordance_loss(logits, torch.zeros(1, 3, dtype=torch.int64), iou=iou).backward()
    assert logits.grad.abs().max() < 1


def test_is_added_to_another_loss():
    problem = make_problem(1)
    focal, concordance = SigmoidFocalLoss(), ConcordanceLoss(loss_weight=0.2)
    got = SumLoss([focal, concordance])(problem.logits, problem.labels, iou=problem.iou)
    want = focal(problem.logits, problem.labels) + 0.2 * concordance_loss(
        problem.logits, problem.labels, iou=problem.iou
    )
    torch.testing.assert_close(got, want)
