"""Claims of the IoU-balanced losses paper, beyond the contract."""

import math

import pytest
import torch

from lidar_rank.losses import (
    IoUBalancedLocLoss,
    cross_entropy_loss,
    iou_balanced,
    iou_balanced_cls_loss,
    iou_balanced_loc_loss,
    sigmoid_focal_loss,
    smooth_l1_loss,
)
from tests.losses.problems import make_boxes, make_problem

BASE = {"focal": sigmoid_focal_loss, "ce": cross_entropy_loss}


@pytest.mark.parametrize("base", BASE)
def test_the_sum_stays_and_the_gradient_moves_to_good_boxes(base):
    problem = make_problem(0)
    problem.logits.requires_grad_()
    plain = BASE[base](problem.logits, problem.labels)
    loss = iou_balanced_cls_loss(problem.logits, problem.labels, iou=problem.iou, base=base)
    torch.testing.assert_close(loss, plain)
    (before,), (after,) = (torch.autograd.grad(value, problem.logits) for value in (plain, loss))
    negative = problem.labels == 3
    torch.testing.assert_close(after[negative], before[negative])
    image, candidate = torch.nonzero((problem.labels >= 0) & (problem.labels < 3), as_tuple=True)
    own = (image, candidate, problem.labels[image, candidate])
    ratio, power = after[own] / before[own], problem.iou[image, candidate] ** 1.5
    torch.testing.assert_close(ratio / ratio[0], power / power[0])


@pytest.mark.parametrize("base", BASE)
@pytest.mark.parametrize("overlap", [0.0, float("nan")])
def test_vanished_overlaps_leave_the_base_loss(base, overlap):
    """The authors' code then gives the positives no gradient at all."""
    problem = make_problem(1)
    problem.iou.fill_(overlap)
    problem.logits.requires_grad_()
    loss = iou_balanced_cls_loss(problem.logits, problem.labels, iou=problem.iou, base=base)
    plain = BASE[base](problem.logits, problem.labels)
    torch.testing.assert_close(*(torch.autograd.grad(value, problem.logits)[0] for value in (loss, plain)))


def test_exponent_zero_is_the_base_loss():
    problem = make_problem(2)
    loss = iou_balanced_cls_loss(problem.logits, problem.labels, iou=problem.iou, exponent=0)
    torch.testing.assert_close(loss, sigmoid_focal_loss(problem.logits, problem.labels))
    pred, target, iou = make_boxes(0)
    loss = iou_balanced_loc_loss(pred, target, iou=iou, exponent=0, w_loc=1)
    torch.testing.assert_close(loss, smooth_l1_loss(pred, target))


@pytest.mark.parametrize(("exponent", "w_loc"), [(0.5, 1.575), (1.0, 2.226), (1.5, 3.049), (1.8, 3.649)])
@pytest.mark.parametrize("coordinate", ["x", "w"])
def test_gradient_of_bounded_iou(coordinate, exponent, w_loc):
    """Eq. 13 and 14: with the IoU that an error d leaves at best, (1 - |d|) / (1 + |d|) for a shift of the centre and
    e^-|d| for a wrong size, the gradient is w_loc iou^lambda times that of smooth L1, and falls for outliers."""
    beta = 1 / 9
    errors = torch.linspace(-0.9, 0.9, 37, dtype=torch.float64)
    iou = (1 - errors.abs()) / (1 + errors.abs()) if coordinate == "x" else (-errors.abs()).exp()
    pred = errors.view(-1, 1).clone().requires_grad_()
    loss = iou_balanced_loc_loss(pred, torch.zeros_like(pred), iou=iou, exponent=exponent, w_loc=w_loc, reduction="sum")
    loss.backward()
    for error, got in zip(errors.tolist(), pred.grad.flatten().tolist(), strict=True):
        size = abs(error)
        at_best = ((1 - size) / (1 + size)) ** exponent if coordinate == "x" else math.exp(-exponent * size)
        smooth = size / beta if size < beta else 1.0
        assert got == pytest.approx(math.copysign(w_loc * at_best * smooth, error), rel=1e-12, abs=1e-15)
    assert pred.grad[-1] < pred.grad[25]


def test_normalised_keeps_the_sum_of_every_batch():
    pred, target, iou = make_boxes(1)
    torch.testing.assert_close(
        iou_balanced_loc_loss(pred, target, iou=iou, w_loc="normalised"), smooth_l1_loss(pred, target)
    )


def test_auto_keeps_the_sum_of_the_first_batch():
    (pred, target, iou), (other, other_target, other_iou) = make_boxes(2), make_boxes(3)
    module = IoUBalancedLocLoss(w_loc="auto", exponent=1.8)
    empty = torch.zeros(0, 7, dtype=torch.float64)
    assert module(empty, empty, iou=torch.zeros(0)).item() == 0
    module.eval()
    torch.testing.assert_close(module(other, other_target, iou=other_iou), smooth_l1_loss(other, other_target))
    module.train()
    torch.testing.assert_close(module(pred, target, iou=iou), smooth_l1_loss(pred, target))
    factor = module.w_auto.item()
    want = iou_balanced_loc_loss(other, other_target, iou=other_iou, exponent=1.8, w_loc=factor)
    resumed = IoUBalancedLocLoss(w_loc="auto", exponent=1.8)
    resumed.load_state_dict(module.state_dict())
    for kept in (module, resumed):
        torch.testing.assert_close(kept(other, other_target, iou=other_iou), want, rtol=1e-6, atol=0)


def test_auto_measures_once(monkeypatch):
    """After the first batch with positives a step costs one loss, also in a run that resumes."""
    calls = []
    terms = iou_balanced.smooth_l1_terms
    monkeypatch.setattr(iou_balanced, "smooth_l1_terms", lambda *args: (calls.append(args), terms(*args))[1])

    def cost(module, positives=9):
        calls.clear()
        pred, target, iou = (tensor[:positives] for tensor in make_boxes(2))
        module(pred, target, iou=iou)
        return len(calls)

    module = IoUBalancedLocLoss(w_loc="auto")
    assert [cost(module, 0), cost(module), cost(module), cost(module.eval())] == [3, 3, 1, 1]
    resumed = IoUBalancedLocLoss(w_loc="auto")
    assert cost(resumed) == 3
    resumed.load_state_dict(module.state_dict())
    assert cost(resumed) == 1
    assert resumed.w_auto == module.w_auto
    resumed.load_state_dict(IoUBalancedLocLoss(w_loc="auto").state_dict())
    assert cost(resumed) == 3


def test_needs_overlaps():
    with pytest.raises(ValueError, match=r"w_loc must be a number or one of \('normalised', 'auto'\), got 'measured'"):
        IoUBalancedLocLoss(w_loc="measured")
    with pytest.raises(ValueError, match="iou_balanced_loc_loss needs iou="):
        iou_balanced_loc_loss(torch.zeros(1, 1), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="iou_balanced_cls_loss needs iou="):
        iou_balanced_cls_loss(torch.zeros(1, 1, 1), torch.zeros(1, 1, dtype=torch.int64))
