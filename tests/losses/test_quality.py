"""Claims of the papers on quality focal loss and varifocal loss, beyond the contract."""

import pytest
import torch

from lidar_rank.losses import FlatLoss, QualityFocalLoss, quality_focal_loss, sigmoid_focal_loss, varifocal_loss
from tests.losses.problems import make_problem

OBJECT, BACKGROUND = 0, 1
LOGITS = (2.0, 0.0, -1.0, -3.0)
QUALITY = (0.8, 0.3, 0.0, 0.0)


@pytest.mark.parametrize(
    ("function", "terms"),
    [
        (quality_focal_loss, (0.003440, 0.027726, 0.022658, 0.000109)),
        (varifocal_loss, (0.421542, 0.207944, 0.016994, 0.000082)),
    ],
)
def test_known_terms(function, terms):
    """Each entry alone, in an image of its own, where it is divided by one."""
    logits = torch.tensor(LOGITS, dtype=torch.float64).view(4, 1, 1)
    labels = torch.tensor([OBJECT, OBJECT, BACKGROUND, BACKGROUND]).view(4, 1)
    iou = torch.tensor(QUALITY, dtype=torch.float64).view(4, 1)
    got = function(logits, labels, iou=iou, scope="image", reduction="none")
    torch.testing.assert_close(got, torch.tensor(terms, dtype=torch.float64), rtol=0, atol=1e-6)
    together = function(logits, labels, iou=iou)
    assert together.item() == pytest.approx(sum(terms) / 2, abs=1e-6), "divided by the number of objects"


def gradient(function, problem, **named):
    live = problem.logits.clone().requires_grad_()
    loss = function(live, problem.labels, **named)
    return loss, *torch.autograd.grad(loss, live)


def test_quality_focal_with_perfect_boxes_is_focal_without_alpha():
    problem = make_problem(0)
    focal = gradient(sigmoid_focal_loss, problem, alpha=0.5)
    quality = gradient(quality_focal_loss, problem, iou=torch.ones_like(problem.iou))
    for got, want in zip(quality, focal, strict=True):
        torch.testing.assert_close(got, 2 * want, rtol=1e-12, atol=1e-14)


def test_boxes_without_overlap_are_background_unless_a_least_quality_is_set():
    problem = make_problem(1)
    nowhere = torch.zeros_like(problem.iou)
    own = torch.nn.functional.one_hot(problem.labels.clamp(0), 4)[..., :3].bool() & (problem.labels >= 0)[..., None]
    for function in (quality_focal_loss, varifocal_loss):
        _, pushed_down = gradient(function, problem, iou=nowhere)
        assert (pushed_down[own] > 0).all()
        low = make_problem(1)
        low.logits -= 8
        _, pushed_up = gradient(function, low, iou=nowhere, min_quality=0.05)
        assert (pushed_up[own] < 0).all()


def test_varifocal_background_is_focal_background():
    problem = make_problem(2)
    problem.labels[problem.labels >= 0] = 3
    focal = gradient(sigmoid_focal_loss, problem, alpha=0.25, gamma=1.5)
    varifocal = gradient(varifocal_loss, problem, iou=problem.iou, alpha=0.75, gamma=1.5)
    for got, want in zip(varifocal, focal, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("function", [quality_focal_loss, varifocal_loss])
def test_score_settles_at_the_quality(function):
    """The smallest loss is where the score is the target: 2 iou - 0.5 for ``"rect"``, cut at 0 and 1."""
    logits = torch.linspace(-6, 6, 12001, dtype=torch.float64)
    for iou, target, want in [(0.6, "linear", 0.6), (0.6, "rect", 0.7), (0.4, "rect", 0.3)]:
        column = logits.view(-1, 1, 1)
        labels, overlap = torch.zeros(len(logits), 1, dtype=torch.int64), torch.full((len(logits), 1), iou)
        loss = function(column, labels, iou=overlap, target=target, scope="image", reduction="none")
        assert logits[loss.argmin()].sigmoid().item() == pytest.approx(want, abs=1e-3)


def test_missing_overlap_is_named_before_the_first_step():
    with pytest.raises(ValueError, match="quality_focal_loss needs iou="):
        quality_focal_loss(torch.zeros(1, 2, 1), torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"FlatLoss.*QualityFocalLoss needs iou"):
        FlatLoss(QualityFocalLoss())
