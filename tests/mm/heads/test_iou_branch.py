"""The branch that predicts overlaps: what it learns, and what it does to scores."""

import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import ConfigDict
from torch import nn

from lidar_rank.mm.heads.iou_branch import IoUBranch

from . import test_sassd as of_sassd
from .test_anchor3d import CAR_A, CAR_B, CELLS, CHANNELS, IMAGES, OURS, build, losses, objects

TEST = ConfigDict(use_rotate_nms=True, nms_across_levels=False, nms_thr=0.01, score_thr=0.3, nms_pre=100, max_num=50)
METAS = [{"box_type_3d": LiDARInstance3DBoxes}] * IMAGES


def branch_head(**options) -> nn.Module:
    return build(OURS | {"iou_branch": options, "test_cfg": TEST})


def features() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(IMAGES, CHANNELS, CELLS, CELLS)]


def predictions(head: nn.Module) -> torch.Tensor:
    """What the branch says of each candidate."""
    return head.iou_branch.conv(features()[0]).permute(0, 2, 3, 1).reshape(IMAGES, -1)


def detections(head: nn.Module) -> list:
    samples = [Det3DDataSample(metainfo=meta) for meta in METAS]
    with torch.no_grad():
        return head.predict(features(), samples)


def test_learns_the_overlap_of_positives_and_nothing_else():
    head = build(
        OURS | {"iou_branch": {"loss_weight": 2.0}, "loss_cls": {"type": "lidar_rank._RecordingLoss"}, "test_cfg": TEST}
    )
    loss = losses(head, objects(CAR_A, CAR_B), objects(CAR_B))["loss_iou"]
    seen = head.loss_cls.seen
    positive = seen["labels"] == 0
    error = (predictions(head)[positive] - (2 * seen["iou"][positive] - 1)).abs()
    want = torch.where(error < 1 / 9, error.square() * 4.5, error - 1 / 18).mean()
    torch.testing.assert_close(loss, 2 * want)
    parameters = [head.conv_reg.weight, head.iou_branch.conv.weight]
    of_boxes, of_branch = torch.autograd.grad(loss, parameters, allow_unused=True)
    assert of_boxes is None
    assert of_branch.abs().max() > 0


def test_the_other_losses_are_those_of_a_head_without():
    scene = objects(CAR_A, CAR_B), objects()
    head, without = branch_head(), build(OURS)
    head.load_state_dict(without.state_dict(), strict=False)
    got, want = losses(head, *scene), losses(without, *scene)
    assert got.pop("loss_iou") > 0
    for name in want:
        torch.testing.assert_close(got[name], want[name])


@pytest.mark.parametrize("scene", [(objects(), objects()), (objects(CAR_A), objects())])
def test_scans_without_objects_have_a_graph(scene):
    head = branch_head()
    loss = losses(head, *scene)["loss_iou"]
    (gradient,) = torch.autograd.grad(loss, head.iou_branch.conv.weight)
    assert gradient.isfinite().all()


def test_scores_are_multiplied_after_their_threshold():
    """A branch that says one number everywhere keeps every detection, and scales its score."""
    head, without = branch_head(), build(OURS | {"test_cfg": TEST})
    without.load_state_dict({name: value for name, value in head.state_dict().items() if "iou_branch" not in name})
    want = detections(without)
    assert sum(len(found) for found in want) > 5
    for prediction, iou in ((1.0, 1.0), (3.0, 1.0), (0.4, 0.7), (-0.6, 0.2)):
        nn.init.zeros_(head.iou_branch.conv.weight)
        nn.init.constant_(head.iou_branch.conv.bias, prediction)
        for got, expected in zip(detections(head), want, strict=True):
            torch.testing.assert_close(got.scores_3d, iou**4 * expected.scores_3d, rtol=1e-4, atol=1e-7)
            torch.testing.assert_close(got.bboxes_3d.tensor, expected.bboxes_3d.tensor)


def test_a_lower_score_of_a_better_box_wins():
    branch = IoUBranch(CHANNELS, num_anchors=2, power=4.0)
    logits = torch.tensor([2.0, 1.0, -3.0, 0.5]).view(1, 4, 1, 1)  # two classes of two anchors
    said = torch.tensor([0.2, 0.8]).view(1, 2, 1, 1)
    got = branch.rectified([logits], [said], score_thr=0.1)[0].sigmoid().flatten()
    factor = torch.tensor([0.6, 0.6, 0.9, 0.9]) ** 4
    torch.testing.assert_close(got, logits.flatten().sigmoid() * factor * torch.tensor([1.0, 1.0, 0.0, 1.0]))
    assert got[3] > got[0]


def test_candidates_score_as_detections_do():
    head, plain = branch_head(), build(OURS)
    plain.load_state_dict({name: value for name, value in head.state_dict().items() if "iou_branch" not in name})
    scene = [objects(CAR_A), objects(CAR_B)]
    got, want = (one.candidates(features(), scene, METAS) for one in (head, plain))
    factor = ((predictions(head) + 1) / 2).clamp(0, 1) ** 4
    torch.testing.assert_close(got.scores, want.scores * factor[..., None])


def test_sassd_multiplies_its_confidence():
    head, plain = of_sassd.build(iou_branch={}), of_sassd.build()
    plain.load_state_dict({name: value for name, value in head.state_dict().items() if "iou_branch" not in name})
    nn.init.zeros_(head.iou_branch.conv.weight)
    nn.init.constant_(head.iou_branch.conv.bias, 0.4)
    with torch.no_grad():
        got, want = (one.predict(of_sassd.features(), [of_sassd.sample(), of_sassd.sample()]) for one in (head, plain))
    assert sum(len(found) for found in want) > 0
    for mine, expected in zip(got, want, strict=True):
        torch.testing.assert_close(mine.scores_3d, 0.7**4 * expected.scores_3d)
        torch.testing.assert_close(mine.bboxes_3d.tensor, expected.bboxes_3d.tensor)
    assert head.loss(of_sassd.features(), [of_sassd.sample(CAR_A), of_sassd.sample()])["loss_iou"] > 0


def test_wrong_options_are_refused():
    for power in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"iou_branch\.power must be >= 0"):
            branch_head(power=power)
    with pytest.raises(ValueError, match="loss_weight must"):
        branch_head(loss_weight=-1.0)
