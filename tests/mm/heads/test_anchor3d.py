"""The 3D head of the seam against the host's own, and what it hands to a loss."""

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from lidar_rank.analysis import count_reverse_pairs
from lidar_rank.geometry import pairwise_iou_3d
from lidar_rank.mm.registry import MODELS as OUR_MODELS

CHANNELS, CELLS, IMAGES = 8, 12, 2
STOCK = {
    "type": "Anchor3DHead",
    "loss_cls": {"type": "mmdet.FocalLoss", "use_sigmoid": True},
    "loss_bbox": {"type": "mmdet.SmoothL1Loss", "beta": 1 / 9, "loss_weight": 2.0},
}
OURS = {
    "type": "lidar_rank.PerImageAnchor3DHead",
    "loss_cls": {"type": "lidar_rank.SigmoidFocalLoss"},
    "loss_bbox": {"type": "lidar_rank.SmoothL1Loss", "beta": 1 / 9, "loss_weight": 2.0},
}


def assigner(positive: float, negative: float) -> dict:
    return {
        "type": "Max3DIoUAssigner",
        "iou_calculator": {"type": "BboxOverlapsNearest3D"},
        "pos_iou_thr": positive,
        "neg_iou_thr": negative,
        "min_pos_iou": negative,
        "ignore_iof_thr": -1,
    }


def build(options: dict, classes: int = 1) -> nn.Module:
    init_default_scope("mmdet3d")
    torch.manual_seed(0)
    sizes = [[3.9, 1.6, 1.56], [0.8, 0.6, 1.73]][:classes]
    assigners = [assigner(0.6, 0.45), assigner(0.35, 0.2)][:classes]
    config = {
        "num_classes": classes,
        "in_channels": CHANNELS,
        "feat_channels": CHANNELS,
        "anchor_generator": {
            "type": "AlignedAnchor3DRangeGenerator",
            "ranges": [[0, -4.8, -1.78, 9.6, 4.8, -1.78]] * classes,
            "sizes": sizes,
            "rotations": [0, 1.57],
            "reshape_out": classes == 1,
        },
        "assigner_per_size": classes > 1,
        "assign_per_class": classes > 1,
        "train_cfg": ConfigDict(assigner=assigners if classes > 1 else assigners[0], allowed_border=0, pos_weight=-1),
        **options,
    }
    head = MODELS.build(ConfigDict(config))
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    return head


def objects(*rows: list[float], labels: list[int] | None = None) -> InstanceData:
    boxes = torch.tensor(rows).reshape(-1, 7)
    return InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(boxes),
        labels_3d=torch.tensor(labels or [0] * len(boxes), dtype=torch.long),
    )


CAR_A = [3.0, 0.3, -1.7, 4.0, 1.7, 1.5, 0.1]
CAR_B = [6.1, -2.0, -1.6, 3.7, 1.6, 1.6, 1.5]
WALKER = [4.4, 3.2, -1.7, 0.8, 0.6, 1.7, 0.0]


def losses(head: nn.Module, *objects_of_images: InstanceData) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    features = torch.randn(len(objects_of_images), CHANNELS, CELLS, CELLS)
    metas = [{"box_type_3d": LiDARInstance3DBoxes}] * len(objects_of_images)
    out = head.loss_by_feat(*head([features]), list(objects_of_images), metas)
    return {name: sum(value) if isinstance(value, list) else value for name, value in out.items()}


def test_equals_the_host_in_value_and_gradient():
    results = []
    for options in (STOCK, OURS):
        head = build(options)
        loss = losses(head, objects(CAR_A, CAR_B), objects(CAR_B))
        gradients = torch.autograd.grad(sum(loss.values()), list(head.parameters()))
        results.append((loss, gradients))
    (stock, stock_gradients), (ours, our_gradients) = results
    assert stock["loss_bbox"] > 0.1
    for name in stock:
        torch.testing.assert_close(ours[name], stock[name], rtol=1e-5, atol=1e-6, msg=name)
    for a, b in zip(our_gradients, stock_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_equals_the_host_with_an_assigner_per_class():
    scene = (objects(CAR_A, WALKER, labels=[0, 1]), objects(CAR_B, WALKER, labels=[0, 1]))
    stock = losses(build(STOCK, classes=2), *scene)
    ours = losses(build(OURS, classes=2), *scene)
    for name in stock:
        torch.testing.assert_close(ours[name], stock[name], rtol=1e-5, atol=1e-6, msg=name)


@OUR_MODELS.register_module(force=True)
class _RecordingLoss(nn.Module):
    """Keeps what the head hands over."""

    def forward(self, logits, labels, *, iou=None, level=None):
        self.seen = {"logits": logits, "labels": labels, "iou": iou, "level": level}
        return (logits.sum() + iou.sum()) * 0.01


def test_loss_gets_one_row_per_image_ignored_anchors_and_the_overlap_of_regressed_boxes():
    head = build(OURS | {"loss_cls": {"type": "lidar_rank._RecordingLoss"}})
    for parameter in head.conv_reg.parameters():
        parameter.data *= 0.1  # boxes that still touch their objects
    loss = losses(head, objects(CAR_A), objects())
    seen = head.loss_cls.seen
    anchors = CELLS * CELLS * 2
    assert seen["logits"].shape == (IMAGES, anchors, 1)
    assert seen["level"].tolist() == [0] * anchors
    assert set(seen["labels"][0].tolist()) == {-1, 0, 1}
    assert set(seen["labels"][1].tolist()) == {1}, "an image without objects is all background"

    positive = seen["labels"] == 0
    assert seen["iou"][~positive].abs().max() == 0
    torch.manual_seed(1)
    features = torch.randn(IMAGES, CHANNELS, CELLS, CELLS)
    deltas = head([features])[1][0].permute(0, 2, 3, 1).reshape(IMAGES, anchors, 7)[positive]
    priors = head.get_anchors([(CELLS, CELLS)], [{}], device="cpu")[0][0].reshape(-1, 7)[positive[0]]
    boxes = head.bbox_coder.decode(priors, deltas).detach().double().numpy()
    expected = pairwise_iou_3d(boxes, torch.tensor([CAR_A]).double().numpy())[:, 0]
    assert expected.min() > 0.2
    torch.testing.assert_close(
        seen["iou"][positive].detach().double(), torch.from_numpy(expected), rtol=1e-3, atol=1e-4
    )

    (gradient,) = torch.autograd.grad(loss["loss_cls"], head.conv_reg.weight)
    assert gradient.abs().max() > 0, "the overlap is differentiable"


@pytest.mark.parametrize(
    "scene", [[objects(), objects()], [objects(CAR_A), objects()]], ids=["no_objects", "one_empty"]
)
def test_images_without_objects_give_a_finite_loss_with_a_graph(scene):
    head = build(OURS)
    loss = losses(head, *scene)
    sum(loss.values()).backward()
    assert all(torch.isfinite(value) for value in loss.values())
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("scene", [[objects(CAR_A), objects()], [objects(), objects()]], ids=["one_empty", "none"])
def test_every_loss_is_called_once_a_batch_whatever_it_holds(scene):
    head, called = build(OURS), []
    for name in ("loss_cls", "loss_bbox", "loss_dir"):
        getattr(head, name).register_forward_hook(lambda *_, name=name: called.append(name))
    losses(head, *scene)
    assert sorted(called) == ["loss_bbox", "loss_cls", "loss_dir"]


@pytest.mark.parametrize("prior_prob", [0.01, 0.5])
def test_scores_start_at_the_prior(prior_prob):
    head = build(OURS | {"prior_prob": prior_prob})
    head.init_weights()
    scores = head([torch.zeros(1, CHANNELS, CELLS, CELLS)])[0][0].sigmoid()
    torch.testing.assert_close(scores, torch.full_like(scores, prior_prob))


def test_dr_loss_ranks_within_each_image():
    head = build(OURS | {"loss_cls": {"type": "lidar_rank.DRLoss"}})
    both = losses(head, objects(CAR_A), objects(CAR_B))["loss_cls"]
    swapped = losses(head, objects(CAR_B), objects(CAR_A))["loss_cls"]
    assert torch.isfinite(both)
    assert both != swapped


LOSSES = [
    "SigmoidFocalLoss",
    "BinaryCrossEntropyLoss",
    "DRLoss",
    "RankDetLoss",
    "GlobalRankingLoss",
    "ClassRankingLoss",
    "IoURankingLoss",
    "GHMCLoss",
    "IoUBalancedClsLoss",
    "APLoss",
]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_whole_batch_without_objects_gives_every_loss_a_graph_and_no_nan(loss):
    head = build(OURS | {"loss_cls": {"type": f"lidar_rank.{loss}"}})
    values = losses(head, objects(), objects())
    gradients = torch.autograd.grad(sum(values.values()), list(head.parameters()))
    assert all(torch.isfinite(part).all() for part in (*values.values(), *gradients))


@pytest.mark.parametrize(("column", "value"), [(3, 0.0), (5, -1.0), (0, float("nan"))])
def test_an_invalid_object_is_named_with_its_scan(column, value):
    head = build(OURS)
    bad = list(CAR_B)
    bad[column] = value
    metas = [{"box_type_3d": LiDARInstance3DBoxes, "lidar_path": f"scans/{i}.bin"} for i in range(2)]
    outs = head([torch.zeros(2, CHANNELS, CELLS, CELLS)])
    with pytest.raises(ValueError, match=r"scans/1\.bin: objects\[1\] has .*; values must be finite and sizes > 0"):
        head.loss_by_feat(*outs, [objects(CAR_A), objects(CAR_A, bad)], metas)


def test_an_object_of_a_class_that_the_head_lacks_is_named_with_its_scan():
    head = build(OURS)
    metas = [{"box_type_3d": LiDARInstance3DBoxes, "lidar_path": f"scans/{i}.bin"} for i in range(2)]
    outs = head([torch.zeros(2, CHANNELS, CELLS, CELLS)])
    with pytest.raises(ValueError, match=r"scans/1\.bin: each label must be one of .* label 1 is not"):
        head.loss_by_feat(*outs, [objects(CAR_A), objects(CAR_B, labels=[1])], metas)


def test_a_loss_that_needs_overlaps_says_so_in_a_head_that_gives_none():
    flat = {"type": "lidar_rank.FlatLoss", "loss": {"type": "lidar_rank.IoURankingLoss"}}
    with pytest.raises(ValueError, match=r"FlatLoss serves heads that give no overlaps, and IoURankingLoss needs iou="):
        MODELS.build(flat)


def test_weights_that_the_losses_cannot_take_are_refused():
    for option in ({"code_weight": [1.0] * 7}, {"pos_weight": 2.0}):
        train_cfg = ConfigDict(assigner=assigner(0.6, 0.45), allowed_border=0, **{"pos_weight": -1, **option})
        with pytest.raises(ValueError, match=rf"train_cfg\.{next(iter(option))}"):
            build(OURS | {"train_cfg": train_cfg})


def test_candidates_are_what_the_loss_sees_and_what_analysis_takes():
    head = build(OURS | {"loss_cls": {"type": "lidar_rank._RecordingLoss"}}, classes=2)
    for parameter in head.conv_reg.parameters():
        parameter.data *= 0.1
    scene = [objects(CAR_A, WALKER, labels=[0, 1]), objects(CAR_B)]
    losses(head, *scene)
    torch.manual_seed(1)
    features = torch.randn(IMAGES, CHANNELS, CELLS, CELLS)
    scene = [objects(CAR_A, WALKER, labels=[0, 1]), objects(CAR_B)]
    found = head.candidates([features], scene, [{}] * IMAGES)
    torch.testing.assert_close(found.scores, head.loss_cls.seen["logits"].sigmoid())
    assert torch.equal(found.labels, head.loss_cls.seen["labels"])
    torch.testing.assert_close(found.iou, head.loss_cls.seen["iou"])
    assert not any(part.requires_grad for part in found)
    pairs = count_reverse_pairs(*(part.numpy() for part in found))
    assert pairs.foreground_background.total > 0
    assert pairs.positive_positive.total > 0


def test_localization_gets_decoded_boxes_and_trains_through_them():
    """What the loss of the boxes says is the overlap that the classification loss reads."""
    rotated = {"type": "lidar_rank.RotatedIoULoss", "kind": "iou"}
    head = build(OURS | {"loss_cls": {"type": "lidar_rank._RecordingLoss"}, "loss_bbox": rotated})
    for parameter in head.conv_reg.parameters():
        parameter.data *= 0.1  # boxes that still touch their objects
    loss = losses(head, objects(CAR_A, CAR_B), objects(CAR_B))
    seen = head.loss_cls.seen
    overlaps = seen["iou"][seen["labels"] == 0]
    torch.testing.assert_close(loss["loss_bbox"], 1 - overlaps.mean())
    (gradient,) = torch.autograd.grad(loss["loss_bbox"], head.conv_reg.weight)
    assert gradient.abs().max() > 0


def test_localization_without_objects_has_a_graph():
    head = build(OURS | {"loss_bbox": {"type": "lidar_rank.RotatedIoULoss"}})
    loss = losses(head, objects(), objects())["loss_bbox"]
    (gradient,) = torch.autograd.grad(loss, head.conv_reg.weight)
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("loss_cls", ["IoURankingLoss", "ALRPLoss"])
def test_sizes_that_overflow_leave_the_gradient_finite(loss_cls):
    """The exponential of a size is infinite beyond 88, where a network that diverges soon is."""
    head = build(OURS | {"loss_cls": {"type": f"lidar_rank.{loss_cls}"}})
    head.conv_reg.bias.data += 100.0
    loss = losses(head, objects(CAR_A, CAR_B), objects(CAR_B))
    gradients = torch.autograd.grad(loss["loss_cls"] + loss["loss_bbox"], list(head.parameters()), allow_unused=True)
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)
