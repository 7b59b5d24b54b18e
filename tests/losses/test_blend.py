"""The warm-up blend."""

import pytest
import torch

from lidar_rank.losses import BlendLoss, DRLoss, SigmoidFocalLoss
from tests.losses.problems import make_problem


@pytest.mark.parametrize("progress", [0, 0.25, 1])
def test_blends_value_and_gradient(progress):
    problem = make_problem(0)
    problem.logits.requires_grad_()
    start, end = SigmoidFocalLoss(), DRLoss(loss_weight=2.0)
    blend = BlendLoss(start, end)
    blend.set_progress(progress)
    inputs = (problem.logits, problem.labels)
    want = (1 - progress) * start(*inputs) + progress * end(*inputs)
    got = blend(*inputs, iou=problem.iou)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(*(torch.autograd.grad(value, problem.logits)[0] for value in (got, want)))


def test_a_loss_without_weight_is_not_computed():
    def fails(*_, **__):
        raise AssertionError

    end = DRLoss()
    end.forward = fails
    problem = make_problem(0)
    assert BlendLoss(SigmoidFocalLoss(), end)(problem.logits, problem.labels).isfinite()


def test_progress_is_a_share():
    with pytest.raises(ValueError, match=r"progress must lie in \[0, 1\], got 1.5"):
        BlendLoss(SigmoidFocalLoss(), DRLoss()).set_progress(1.5)
