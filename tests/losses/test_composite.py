"""Losses made of losses: the warm-up blend, and the sum."""

import pytest
import torch

from lidar_rank.losses import BlendLoss, DRLoss, IoURankingLoss, SigmoidFocalLoss, SumLoss
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
    blend = BlendLoss(SigmoidFocalLoss(), end)
    blend.set_progress(0)
    assert blend(problem.logits, problem.labels).isfinite()


def test_a_blend_that_nobody_moves_is_an_error():
    """Without its hook it would train with its start to the end and say nothing."""
    problem = make_problem(0)
    blend = BlendLoss(SigmoidFocalLoss(), DRLoss())
    with pytest.raises(RuntimeError, match=r"call set_progress\(t\) before each step, or add .*lidar_rank.WarmUpHook"):
        blend(problem.logits, problem.labels)


@pytest.mark.parametrize("progress", [1.5, -0.1, True, float("nan")])
def test_progress_is_a_share(progress):
    with pytest.raises(ValueError, match=rf"progress must .*, got {progress!r}"):
        BlendLoss(SigmoidFocalLoss(), DRLoss()).set_progress(progress)


def test_sums_value_and_gradient():
    problem = make_problem(1)
    problem.logits.requires_grad_()
    focal, order = SigmoidFocalLoss(), IoURankingLoss(loss_weight=0.5)
    inputs = {"iou": problem.iou, "level": problem.level}
    want = focal(problem.logits, problem.labels) + order(problem.logits, problem.labels, **inputs)
    got = SumLoss([focal, order])(problem.logits, problem.labels, **inputs)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(*(torch.autograd.grad(value, problem.logits)[0] for value in (got, want)))


def test_members_are_modules():
    config = {"type": "lidar_rank.DRLoss"}
    with pytest.raises(TypeError, match=r"'type': 'lidar_rank\.DRLoss'"):
        BlendLoss(SigmoidFocalLoss(), config)
    with pytest.raises(TypeError, match=r"'type': 'lidar_rank\.DRLoss'"):
        SumLoss([SigmoidFocalLoss(), config])
    with pytest.raises(ValueError, match="SumLoss needs at least one loss, got none"):
        SumLoss([])
