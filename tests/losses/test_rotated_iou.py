"""What losses of boxes as a whole promise, beyond the contract."""

import math

import pytest
import torch
from torch import Tensor

from lidar_rank.losses import RotatedIoULoss, SmoothL1Loss, SumLoss, rotated_iou_loss
from tests.losses.problems import decode, make_boxes

KINDS = ("iou", "giou", "diou", "odiou")
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
CAR = (10.0, -3.0, -1.6, 4.0, 2.0, 1.5, 0.0)
LARGEST = {"iou": 1.0, "giou": 2.0, "diou": 2.0, "odiou": 3.25}


def loss_of(regressed: Tensor, true: Tensor, **options) -> Tensor:
    deltas = torch.zeros_like(true)
    return rotated_iou_loss(deltas, deltas, boxes=(regressed, true), **{"reduction": "none", **options})


def box(*columns: float) -> Tensor:
    return torch.tensor([columns], dtype=torch.float64)


def some_pairs(columns: int = 7) -> tuple[Tensor, Tensor]:
    regressed, true = (decode(deltas) for deltas in make_boxes(0)[:2])
    if columns == 4:
        corner, size = slice(0, 2), slice(3, 5)
        return tuple(torch.cat([part[:, corner], part[:, corner] + part[:, size]], 1) for part in (regressed, true))
    keep = list(range(7)) if columns == 7 else [0, 1, 3, 4, 6]
    return regressed[:, keep], true[:, keep]


def test_known_value():
    """A car half a metre ahead and a quarter above: the enclosing box of SE-SSD's paper, not of its code."""
    shifted = box(*CAR) + box(0.5, 0, 0.25, 0, 0, 0, 0)
    for kind in ("diou", "odiou"):
        assert loss_of(shifted, box(*CAR), kind=kind).item() == pytest.approx(0.437671, abs=1e-6)


@EVERY_KIND
def test_a_rotation_of_the_scene_changes_nothing(kind):
    regressed, true = some_pairs()
    turn = 0.7

    def turned(boxes: Tensor) -> Tensor:
        x, y, rest, yaw = boxes[:, :1], boxes[:, 1:2], boxes[:, 2:6], boxes[:, 6:]
        cos, sin = math.cos(turn), math.sin(turn)
        return torch.cat([x * cos - y * sin, x * sin + y * cos, rest, yaw + turn], 1)

    before, after = loss_of(regressed, true, kind=kind), loss_of(turned(regressed), turned(true), kind=kind)
    torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-12)
    changed = loss_of(turned(regressed), turned(true), kind=kind, enclosing="axes")
    assert torch.allclose(changed, before) == (kind == "iou")


@EVERY_KIND
@pytest.mark.parametrize("columns", [4, 5, 7])
def test_gradient_is_that_of_the_value(kind, columns):
    regressed, true = some_pairs(columns)
    assert torch.autograd.gradcheck(lambda boxes: loss_of(boxes, true, kind=kind), regressed.requires_grad_())


def test_boxes_of_images_are_boxes_seen_from_above_without_yaw():
    regressed, true = some_pairs(4)
    from_above = [
        torch.cat([(part[:, :2] + part[:, 2:]) / 2, part[:, 2:] - part[:, :2], torch.zeros_like(part[:, :1])], 1)
        for part in (regressed, true)
    ]
    for kind in KINDS:
        torch.testing.assert_close(loss_of(regressed, true, kind=kind), loss_of(*from_above, kind=kind))
    # Two squares of side 2, one step apart: inner 2, union 6, hull 3 x 2, centres 1 and diagonal sqrt(13) apart.
    pair = torch.tensor([[1.0, 0.0, 3.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    wanted = {"iou": 2 / 3, "giou": 2 / 3, "diou": 2 / 3 + 1 / 13, "odiou": 2 / 3 + 1 / 13}
    for kind, want in wanted.items():
        assert loss_of(*pair, kind=kind).item() == pytest.approx(want)


POSITIONS = {
    "identical": CAR,
    "touching": (14.0, -3.0, -1.6, 4.0, 2.0, 1.5, 0.0),
    "touching in height": (10.0, -3.0, -0.1, 4.0, 2.0, 1.5, 0.0),
    "contained": (10.1, -3.1, -1.4, 2.0, 1.0, 0.5, 0.3),
    "containing": (10.1, -3.1, -2.0, 9.0, 8.0, 4.0, 0.3),
    "far": (1e4, -1e4, 50.0, 4.0, 2.0, 1.5, 1.0),
    "farther than floats of this kind multiply": (1e30, -1e30, 1e30, 4.0, 2.0, 1.5, 1.0),
    "without size": (10.0, -3.0, -1.6, 0.0, 0.0, 0.0, 0.0),
    "without width": (10.0, -3.0, -1.6, 4.0, 0.0, 1.5, 0.2),
    "huge": (10.0, -3.0, -1.6, 1e8, 1e8, 1e8, 0.2),
    "beyond huge": (10.0, -3.0, -1.6, 1e30, 1e30, 1e30, 0.2),
    "crosswise": (10.0, -3.0, -1.6, 4.0, 2.0, 1.5, math.pi / 2),
    "opposite": (10.0, -3.0, -1.6, 4.0, 2.0, 1.5, math.pi),
}


@EVERY_KIND
@pytest.mark.parametrize("enclosing", ["target", "axes"])
def test_value_and_gradient_are_finite_and_bounded(kind, enclosing):
    live = torch.tensor(list(POSITIONS.values()), requires_grad=True)
    losses = loss_of(live, torch.tensor([CAR]).repeat(len(live), 1), kind=kind, enclosing=enclosing)
    losses.sum().backward()
    for position, loss, gradient in zip(POSITIONS, losses.tolist(), live.grad, strict=True):
        assert 0 <= loss <= LARGEST[kind] + 1e-6, position
        assert gradient.isfinite().all(), position
        if position in ("identical", "opposite"):
            assert loss == pytest.approx(0, abs=1e-6), position
        if position.startswith(("touching", "far", "without")):
            assert loss >= 1, position


@EVERY_KIND
def test_boxes_apart_are_pulled_together_by_all_but_the_plain_overlap(kind):
    far = (box(*CAR) + box(9, 5, 0, 0, 0, 0, 0)).requires_grad_()
    loss_of(far, box(*CAR), kind=kind).sum().backward()
    pull = far.grad[0, :2]
    assert (pull > 0).all() if kind in ("diou", "odiou", "giou") else (pull == 0).all()


def test_a_wrong_yaw_costs_and_half_a_circle_does_not():
    yaws = torch.tensor([0.0, 0.2, 1.0, math.pi / 2, math.pi])
    turned = torch.tensor([CAR]).repeat(5, 1)
    turned[:, 6] = yaws
    true = torch.tensor([CAR]).expand(5, -1)
    got = loss_of(turned, true, kind="odiou", yaw_weight=2.0) - loss_of(turned, true, kind="diou")
    torch.testing.assert_close(got, 2 * (1 - yaws.cos().abs()), rtol=0, atol=1e-6)


@EVERY_KIND
def test_training_on_it_finds_the_objects(kind):
    true = decode(make_boxes(1, positives=32)[1])
    start = true + 0.1 * torch.randn(true.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    deltas = torch.cat([start[:, :3], start[:, 3:6].clamp(min=0.1).log(), start[:, 6:]], 1).requires_grad_()
    optimizer = torch.optim.Adam([deltas], lr=0.02)
    for step in range(80):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 80)
        optimizer.zero_grad()
        loss_of(decode(deltas), true, kind=kind, reduction="mean").backward()
        optimizer.step()
    assert loss_of(decode(deltas), true, kind="iou").mean() < 0.1


def test_stands_beside_smooth_l1():
    pred, target, iou = make_boxes(2)
    parts = [SmoothL1Loss(loss_weight=2.0), RotatedIoULoss(kind="odiou", loss_weight=0.5)]
    inputs = {"iou": iou, "boxes": (decode(pred), decode(target))}
    want = sum(part(pred, target, **inputs) for part in parts)
    torch.testing.assert_close(SumLoss(parts)(pred, target, **inputs), want)


def test_wrong_boxes_are_refused_by_name():
    deltas, good = torch.zeros(2, 7), torch.tensor([CAR, CAR])
    with pytest.raises(ValueError, match=r"rotated_iou_loss needs boxes=.*heads of scope lidar_rank"):
        rotated_iou_loss(deltas, deltas)
    for boxes in [(good[:1], good[:1]), (good, good[:, :5]), (good[:, :6], good[:, :6]), (good, good.long())]:
        with pytest.raises(ValueError, match=r"boxes must be two float tensors \(2, 7\).*regressed boxes and those"):
            rotated_iou_loss(deltas, deltas, boxes=boxes)
    for side, name in enumerate(("the regressed boxes, must be >= 0", "the objects, must be > 0")):
        for value in (math.nan, math.inf):
            pair = [good.clone(), good.clone()]
            pair[side][1, 4] = value
            with pytest.raises(ValueError, match=rf"boxes\[{side}\] must be finite.*1 of 14 values"):
                rotated_iou_loss(deltas, deltas, boxes=tuple(pair))
        pair = [good.clone(), good.clone()]
        pair[side][1, 4] = -0.5
        with pytest.raises(ValueError, match=rf"sizes of boxes\[{side}\], {name}; got values from -0.5"):
            rotated_iou_loss(deltas, deltas, boxes=tuple(pair))
    without = good.clone()
    without[0, 3] = 0
    with pytest.raises(ValueError, match=r"sizes of boxes\[1\]"):
        rotated_iou_loss(deltas, deltas, boxes=(good, without))
    rotated_iou_loss(deltas, deltas, boxes=(without, good))
