"""The losses as stock heads call them."""

import pytest
import torch

from lidar_rank.losses import DRLoss, FlatLoss, GHMCLoss, IoURankingLoss, SigmoidFocalLoss
from tests.losses.problems import make_problem


@pytest.mark.parametrize("loss", [DRLoss, SigmoidFocalLoss, GHMCLoss])
def test_is_one_group(loss):
    problem = make_problem(0)
    scores, labels = problem.logits.flatten(0, 1), problem.labels.flatten()
    weight = (labels >= 0).double()
    got = FlatLoss(loss())(scores, labels.clamp(min=0), weight, avg_factor=7.0)
    options = {"scope": "batch"} if loss is not GHMCLoss else {}
    torch.testing.assert_close(got, loss(**options)(problem.logits, problem.labels))


def test_refuses_what_it_would_ignore():
    scores, labels = torch.zeros(3, 1), torch.tensor([0, 1, 1])
    with pytest.raises(ValueError, match=r"weight must be 0 \(ignored\) or 1; got values from 0.5"):
        FlatLoss(DRLoss())(scores, labels, torch.full((3,), 0.5))
    with pytest.raises(ValueError, match="reduction_override must be None, got 'sum'"):
        FlatLoss(DRLoss())(scores, labels, reduction_override="sum")
    with pytest.raises(ValueError, match="use_sigmoid must be True"):
        FlatLoss(DRLoss(), use_sigmoid=False)
    with pytest.raises(ValueError, match="IoURankingLoss needs iou="):
        FlatLoss(IoURankingLoss())(scores, labels)
