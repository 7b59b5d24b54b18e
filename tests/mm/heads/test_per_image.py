"""The 2D heads of the seam against the host's own, and what they hand to a loss."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn
from torch.testing import assert_close

from lidar_rank import losses as losses_of_core
from lidar_rank.geometry import pairwise_iou_bev
from lidar_rank.mm.heads import per_image
from lidar_rank.mm.registry import MODELS as OUR_MODELS
from tests.oracles import losses as oracles

from .test_anchor3d import CAR_A, CAR_B
from .test_anchor3d import build as build_3d
from .test_anchor3d import losses as losses_3d
from .test_anchor3d import objects as objects_3d

CHANNELS, SIDE, CLASSES = 8, 128, 3
FOCAL = {"type": "lidar_rank.SigmoidFocalLoss"}
SMOOTH_L1 = {"type": "lidar_rank.SmoothL1Loss", "beta": 0.11}
STOCK_FOCAL = {"type": "FocalLoss", "use_sigmoid": True}
STOCK_SMOOTH_L1 = {"type": "SmoothL1Loss", "beta": 0.11}

IOU_ASSIGNER = {"type": "MaxIoUAssigner", "pos_iou_thr": 0.5, "neg_iou_thr": 0.4, "min_pos_iou": 0}
RETINA = {
    "anchor_generator": {
        "type": "AnchorGenerator",
        "octave_base_scale": 4,
        "scales_per_octave": 1,
        "ratios": [0.5, 1.0, 2.0],
        "strides": [8, 16, 32],
    },
    "stacked_convs": 1,
    "train_cfg": {"assigner": IOU_ASSIGNER, "allowed_border": -1, "pos_weight": -1},
}
ATSS = {
    "anchor_generator": {
        "type": "AnchorGenerator",
        "octave_base_scale": 8,
        "scales_per_octave": 1,
        "ratios": [1.0],
        "strides": [8, 16, 32],
    },
    "norm_cfg": {"type": "GN", "num_groups": 2},
    "stacked_convs": 1,
    "train_cfg": {"assigner": {"type": "ATSSAssigner", "topk": 9}, "allowed_border": -1, "pos_weight": -1},
}
SSD = {
    "anchor_generator": {
        "type": "SSDAnchorGenerator",
        "scale_major": False,
        "min_sizes": [24, 48, 80],
        "max_sizes": [48, 80, 120],
        "strides": [8, 16, 32],
        "ratios": [[2], [2], [2]],
    },
    "train_cfg": {
        "assigner": {**IOU_ASSIGNER, "neg_iou_thr": 0.5},
        "allowed_border": -1,
        "pos_weight": -1,
        "smoothl1_beta": 0.11,
    },
}
FOVEA = {
    "strides": [8, 16, 32],
    "base_edge_list": [16, 32, 64],
    "scale_ranges": ((1, 48), (24, 96), (48, 200)),
    "stacked_convs": 1,
    "train_cfg": {},
}
RPN = {
    "num_classes": 1,
    "anchor_generator": RETINA["anchor_generator"],
    "train_cfg": {"assigner": {**IOU_ASSIGNER, "neg_iou_thr": 0.3}, "allowed_border": -1, "pos_weight": -1},
}

OF_HEAD = {"Retina": RETINA, "ATSS": ATSS, "SSD": SSD, "Fovea": FOVEA}


def build(kind: str, random: bool = True, **options) -> nn.Module:
    """A head, by default with random weights: the same ones for the host's and for ours."""
    init_default_scope("mmdet")
    ours = str(options.get("loss_cls", {}).get("type", "")).startswith("lidar_rank.")
    channels = (CHANNELS,) * 3 if kind == "SSD" else CHANNELS
    feat = {} if kind == "SSD" else {"feat_channels": CHANNELS}
    name = f"lidar_rank.PerImage{kind}Head" if ours else f"{kind}Head"
    config = {
        "type": name,
        "num_classes": CLASSES,
        "in_channels": channels,
        **feat,
        **{**OF_HEAD, "RPN": RPN}[kind],
        **options,
    }
    head = MODELS.build(ConfigDict(config))
    torch.manual_seed(0)
    for parameter in head.parameters() if random else ():
        nn.init.normal_(parameter, std=0.1)
    return head


def objects(*rows: list[float], labels: list[int] | None = None) -> InstanceData:
    boxes = torch.tensor(rows).reshape(-1, 4)
    return InstanceData(bboxes=boxes, labels=torch.tensor(labels or [0] * len(boxes), dtype=torch.long))


BOX_A, BOX_B, BOX_C = [10.0, 12.0, 50.0, 44.0], [60.0, 20.0, 120.0, 110.0], [30.0, 70.0, 52.0, 96.0]
SCENE = (objects(BOX_A, BOX_B, labels=[0, 2]), objects(BOX_B, BOX_C, labels=[1, 0]))
META = {"img_shape": (SIDE, SIDE), "pad_shape": (SIDE, SIDE), "img_path": "some.jpg"}


def features(images: int) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(images, CHANNELS, SIDE // stride, SIDE // stride) for stride in (8, 16, 32)]


def losses(head: nn.Module, *images: InstanceData, **named) -> dict[str, torch.Tensor]:
    out = head.loss_by_feat(*head(features(len(images))), list(images), [META] * len(images), **named)
    return {name: sum(value) if isinstance(value, list) else value for name, value in out.items()}


def assert_same_losses_and_gradients(stock: nn.Module, ours: nn.Module, *images: InstanceData, **named) -> None:
    results = []
    for head in (stock, ours):
        loss = losses(head, *images, **named)
        total = sum(value for name, value in loss.items() if name.startswith("loss"))
        results.append((loss, torch.autograd.grad(total, list(head.parameters()))))
    (stock_loss, stock_gradients), (our_loss, our_gradients) = results
    assert set(our_loss) == set(stock_loss)
    assert all(value > 0.05 for value in stock_loss.values())
    for name, value in stock_loss.items():
        assert_close(our_loss[name].squeeze(), value.squeeze(), rtol=1e-5, atol=1e-6, msg=name)
    for a, b in zip(our_gradients, stock_gradients, strict=True):
        assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))


def test_retinanet_equals_the_host_in_value_and_gradient():
    """The host divides by the positives of the batch; so does the core's focal loss unless told otherwise."""
    stock = build("Retina", loss_cls=STOCK_FOCAL, loss_bbox=STOCK_SMOOTH_L1)
    ours = build("Retina", loss_cls=FOCAL, loss_bbox=SMOOTH_L1)
    assert_same_losses_and_gradients(stock, ours, *SCENE)


def test_retinanet_equals_the_host_with_padding_and_regions_to_ignore():
    assigner = {**IOU_ASSIGNER, "ignore_iof_thr": 0.5}
    options = {"train_cfg": {**RETINA["train_cfg"], "assigner": assigner}}
    stock = build("Retina", loss_cls=STOCK_FOCAL, loss_bbox=STOCK_SMOOTH_L1, **options)
    ours = build("Retina", loss_cls=FOCAL, loss_bbox=SMOOTH_L1, **options)
    crowd = [InstanceData(bboxes=torch.tensor([[60.0, 60.0, 128.0, 128.0]])), InstanceData(bboxes=torch.zeros(0, 4))]
    assert_same_losses_and_gradients(stock, ours, *SCENE, batch_gt_instances_ignore=crowd)
    with_crowd = losses(ours, *SCENE, batch_gt_instances_ignore=crowd)["loss_cls"]
    assert with_crowd != losses(ours, *SCENE)["loss_cls"]


def test_retinanet_on_boxes_equals_the_host():
    options = {"loss_bbox": {"type": "GIoULoss"}, "reg_decoded_bbox": True}
    assert_same_losses_and_gradients(
        build("Retina", loss_cls=STOCK_FOCAL, **options), build("Retina", loss_cls=FOCAL, **options), *SCENE
    )


@pytest.mark.parametrize(("kind", "of_host"), [("iou", "IoULoss"), ("giou", "GIoULoss"), ("diou", "DIoULoss")])
def test_losses_of_boxes_equal_the_hosts(kind, of_host):
    """The core's loss is called with encoded deltas and decoded boxes, the host's with boxes alone."""
    linear = {"mode": "linear"} if kind == "iou" else {}
    stock = build("Retina", loss_cls=STOCK_FOCAL, loss_bbox={"type": of_host, **linear}, reg_decoded_bbox=True)
    for options in ({}, {"reg_decoded_bbox": True}):
        rotated = {"type": "lidar_rank.RotatedIoULoss", "kind": kind}
        assert_same_losses_and_gradients(stock, build("Retina", loss_cls=FOCAL, loss_bbox=rotated, **options), *SCENE)


@pytest.mark.parametrize("kind", OF_HEAD)
def test_every_head_takes_a_loss_of_boxes(kind):
    head = build(kind, loss_cls=FOCAL, loss_bbox={"type": "lidar_rank.RotatedIoULoss", "kind": "diou"})
    boxes = head.match(head(features(2))[1], list(SCENE), [META] * 2, None)
    loss = losses(head, *SCENE)["loss_bbox"]
    assert 1 - boxes.iou.mean() < loss < 2


def test_region_proposals_equal_the_hosts():
    """Faster R-CNN's first stage has no class but "object"; the host adds "rpn" to the names of its losses."""
    scene = objects(BOX_A, BOX_B), objects(BOX_B, BOX_C)
    stock = build("RPN", loss_cls=STOCK_FOCAL, loss_bbox=STOCK_SMOOTH_L1)
    stock_loss_by_feat = stock.loss_by_feat
    stock.loss_by_feat = lambda *inputs: {
        name.replace("rpn_", ""): value for name, value in stock_loss_by_feat(*inputs).items()
    }
    assert_same_losses_and_gradients(stock, build("RPN", loss_cls=FOCAL, loss_bbox=SMOOTH_L1), *scene)


@pytest.mark.parametrize("prior_prob", [0.01, 0.5])
def test_region_proposals_start_at_the_prior(prior_prob):
    head = build("RPN", random=False, loss_cls=FOCAL, loss_bbox=SMOOTH_L1, prior_prob=prior_prob)
    head.init_weights()
    scores = head([torch.zeros_like(level) for level in features(1)])[0]
    assert all((level.sigmoid() - prior_prob).abs().max() < 1e-6 for level in scores)
    assert 0.005 < head.rpn_conv.weight.std() < 0.015, "the host's weights"


def test_atss_equals_the_host_in_value_and_gradient():
    options = {"loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0}}
    assert_same_losses_and_gradients(
        build("ATSS", loss_cls=STOCK_FOCAL, **options), build("ATSS", loss_cls=FOCAL, **options), *SCENE
    )


def test_foveabox_equals_the_host_up_to_its_normalisation():
    """The host adds the number of images to the positives that it divides the classification loss by."""
    stock = losses(build("Fovea", loss_cls=STOCK_FOCAL, loss_bbox=STOCK_SMOOTH_L1), *SCENE)
    head = build("Fovea", loss_cls=FOCAL, loss_bbox=SMOOTH_L1)
    ours = losses(head, *SCENE)
    assert_close(ours["loss_bbox"], stock["loss_bbox"])
    positives = int(head.match(head(features(2))[1], list(SCENE), [META] * 2, None).positive.sum())
    assert positives > 10
    assert_close(ours["loss_cls"] * positives / (positives + len(SCENE)), stock["loss_cls"])


def test_ssd_localization_equals_the_host_and_the_hardest_background_counts():
    shared = {**SSD["train_cfg"], "neg_pos_ratio": 3}
    stock = build("SSD", train_cfg=shared)
    ours = build("SSD", train_cfg=shared, loss_cls={"type": "lidar_rank._Recording2DLoss"}, loss_bbox=SMOOTH_L1)
    assert ours.cls_out_channels == CLASSES
    for a, b in zip(ours.reg_convs.parameters(), stock.reg_convs.parameters(), strict=True):
        a.data.copy_(b.data)
    ours_loss, stock_loss = losses(ours, *SCENE), losses(stock, *SCENE)
    assert_close(ours_loss["loss_bbox"], stock_loss["loss_bbox"].squeeze())

    logits, labels = ours.loss_cls.seen["logits"], ours.loss_cls.seen["labels"]
    for scores, image in zip(logits.amax(2), labels, strict=True):
        positives = int(((image >= 0) & (image < CLASSES)).sum())
        assert positives > 0
        assert int((image == CLASSES).sum()) == 3 * positives
        assert scores[image == CLASSES].min() >= scores[image == -1].max()


@OUR_MODELS.register_module(force=True)
class _Recording2DLoss(nn.Module):
    """Keeps what the head hands over."""

    def forward(self, logits, labels, *, iou=None, level=None):
        self.seen = {"logits": logits, "labels": labels, "iou": iou, "level": level}
        return (logits.sum() + iou.sum()) * 0.01


LEVELS = {
    kind: [0] * 256 * n + [1] * 64 * n + [2] * 16 * n
    for kind, n in {"Retina": 3, "ATSS": 1, "SSD": 4, "Fovea": 1}.items()
}


@pytest.mark.parametrize("kind", OF_HEAD)
def test_loss_gets_one_row_per_image_levels_and_the_overlap_of_regressed_boxes(kind):
    boxes_loss = {"type": "GIoULoss"} if kind == "ATSS" else SMOOTH_L1
    head = build(kind, loss_cls={"type": "lidar_rank._Recording2DLoss"}, loss_bbox=boxes_loss)
    loss = losses(head, SCENE[0], objects())
    seen = head.loss_cls.seen
    assert seen["level"].tolist() == LEVELS[kind]
    assert seen["logits"].shape == (2, len(LEVELS[kind]), CLASSES)
    assert set(seen["labels"][0].tolist()) - {-1} == {0, 2, CLASSES}
    assert set(seen["labels"][1].tolist()) == {CLASSES}, "an image without objects is all background"

    positive = (seen["labels"] >= 0) & (seen["labels"] < CLASSES)
    assert seen["iou"][~positive].abs().max() == 0
    match = head.match(head(features(2))[1], [SCENE[0], objects()], [META] * 2, None)
    expected = paired_iou(match.boxes, torch.tensor([BOX_A, BOX_B])[(seen["labels"][positive] == 2).long()])
    assert expected.max() > 0.2
    assert_close(seen["iou"][positive].double(), expected, rtol=1e-3, atol=1e-4)

    regression = [parameter for name, parameter in head.named_parameters() if "reg" in name]
    gradients = torch.autograd.grad(loss["loss_cls"], regression, allow_unused=True)
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients), "iou is differentiable"


@pytest.mark.parametrize("kind", OF_HEAD)
def test_candidates_are_what_the_loss_saw(kind):
    boxes_loss = {"type": "GIoULoss"} if kind == "ATSS" else SMOOTH_L1
    head = build(kind, loss_cls={"type": "lidar_rank._Recording2DLoss"}, loss_bbox=boxes_loss)
    losses(head, *SCENE)
    found = head.candidates(features(2), list(SCENE), [META] * 2)
    assert_close(found.scores, head.loss_cls.seen["logits"].sigmoid().detach())
    assert_close(found.labels, head.loss_cls.seen["labels"])
    assert_close(found.iou, head.loss_cls.seen["iou"].detach())


def paired_iou(boxes: torch.Tensor, objects_px: torch.Tensor) -> torch.Tensor:
    """By the rotated overlap of the geometry folder, with yaw 0: another implementation."""
    as_bev = [
        torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2], torch.zeros(len(b), 1)], 1).detach().double().numpy()
        for b in (boxes, objects_px)
    ]
    return torch.from_numpy(pairwise_iou_bev(*as_bev)).diagonal()


@pytest.mark.parametrize("kind", OF_HEAD)
@pytest.mark.parametrize("scene", [[objects(), objects()], [SCENE[0], objects()]], ids=["no_objects", "one_empty"])
def test_images_without_objects_give_a_finite_loss_with_a_graph(kind, scene):
    boxes_loss = {"type": "GIoULoss"} if kind == "ATSS" else SMOOTH_L1
    head = build(kind, loss_cls={"type": "lidar_rank.RankDetLoss"}, loss_bbox=boxes_loss)
    loss = losses(head, *scene)
    sum(loss.values()).backward()
    assert all(torch.isfinite(value).all() for value in loss.values())
    assert all(parameter.grad is not None for name, parameter in head.named_parameters() if "scales" not in name)


@pytest.mark.parametrize("kind", OF_HEAD)
@pytest.mark.parametrize("scene", [SCENE, [objects(), objects()]], ids=["objects", "none"])
def test_every_loss_and_the_overlaps_are_computed_once_a_batch(kind, scene, monkeypatch):
    boxes_loss = {"type": "GIoULoss"} if kind == "ATSS" else SMOOTH_L1
    head, called = build(kind, loss_cls=FOCAL, loss_bbox=boxes_loss), []
    names = [name for name in ("loss_cls", "loss_bbox", "loss_centerness") if hasattr(head, name)]
    for name in names:
        getattr(head, name).register_forward_hook(lambda *_, name=name: called.append(name))

    def overlaps(*inputs, **options):
        called.append("overlaps")
        return bbox_overlaps(*inputs, **options)

    monkeypatch.setattr(per_image, "bbox_overlaps", overlaps)
    losses(head, *scene)
    assert sorted(called) == sorted([*names, "overlaps"])


@pytest.mark.parametrize("kind", OF_HEAD)
@pytest.mark.parametrize("prior_prob", [0.01, 0.5])
def test_scores_start_at_the_prior(kind, prior_prob):
    head = build(kind, random=False, loss_cls=FOCAL, loss_bbox=SMOOTH_L1, prior_prob=prior_prob)
    head.init_weights()
    zeros = [torch.zeros_like(level) for level in features(1)]
    for scores in head(zeros)[0]:
        assert_close(scores.sigmoid(), torch.full_like(scores, prior_prob))


def test_localization_loss_is_weighted_by_the_detached_overlap():
    balanced = {"type": "lidar_rank.IoUBalancedLocLoss", "exponent": 1.0, "w_loc": 2.0, "beta": 0.11}
    head = build("Retina", loss_cls=FOCAL, loss_bbox=balanced)
    match = head.match(head(features(2))[1], list(SCENE), [META] * 2, None)
    expected = oracles.iou_balanced_loc(
        match.deltas.tolist(), match.delta_targets.tolist(), match.iou.tolist(), None, exponent=1.0, w_loc=2.0,
        beta=0.11,
    )  # fmt: skip
    assert losses(head, *SCENE)["loss_bbox"].item() == pytest.approx(expected, rel=1e-5)


ORACLES = {
    "SigmoidFocalLoss": oracles.sigmoid_focal,
    "DRLoss": oracles.dr,
    "RankDetLoss": oracles.rank_det,
    "IoUBalancedClsLoss": oracles.iou_balanced_cls,
    "APLoss": oracles.ap,
}


@pytest.mark.parametrize("name", ORACLES)
def test_one_loss_object_serves_a_2d_and_a_3d_head(name):
    loss = getattr(losses_of_core, name)()
    recording = {"loss_cls": {"type": "lidar_rank._Recording2DLoss"}}
    in_2d = build("Retina", **recording, loss_bbox=SMOOTH_L1)
    losses(in_2d, *SCENE)
    in_3d = build_3d(
        {"type": "lidar_rank.PerImageAnchor3DHead", **recording, "loss_bbox": {"type": "lidar_rank.SmoothL1Loss"}}
    )
    losses_3d(in_3d, objects_3d(CAR_A, CAR_B), objects_3d(CAR_B))
    for head in (in_2d, in_3d):
        seen = head.loss_cls.seen
        inputs = [seen[key].tolist() for key in ("logits", "labels", "iou", "level")]
        assert len(inputs[0]) == 2
        assert loss(**seen).item() == pytest.approx(ORACLES[name](*inputs, None), rel=1e-4)


def test_dr_loss_ranks_within_each_image():
    head = build("Retina", loss_cls={"type": "lidar_rank.DRLoss"}, loss_bbox=SMOOTH_L1)
    scores, boxes = head(features(2))
    together = head.loss_by_feat(scores, boxes, list(SCENE), [META] * 2)["loss_cls"]
    alone = [
        head.loss_by_feat([s[i : i + 1] for s in scores], [b[i : i + 1] for b in boxes], [SCENE[i]], [META])["loss_cls"]
        for i in range(2)
    ]
    assert alone[0] != alone[1]
    assert_close(together, sum(alone) / 2)


@pytest.mark.parametrize("kind", OF_HEAD)
def test_bad_objects_are_one_clear_error(kind):
    head = build(kind, loss_cls=FOCAL, loss_bbox=SMOOTH_L1)
    for box in ([20.0, 20.0, 20.0, 60.0], [50.0, 20.0, 20.0, 60.0], [0.0, 0.0, float("nan"), 9.0]):
        with pytest.raises(ValueError, match=r"some\.jpg: each box .* area inside the image; box .*FilterAnnot"):
            losses(head, SCENE[0], objects(BOX_A, box))
    with pytest.raises(ValueError, match=r"some\.jpg: each label .* one of the head's 3 classes.*; label 3 is not"):
        losses(head, SCENE[0], objects(BOX_A, labels=[3]))


def test_a_weight_of_positives_is_refused_unless_it_is_that_of_the_others():
    for pos_weight in (-1, 0, 1):
        build(
            "Retina", loss_cls=FOCAL, loss_bbox=SMOOTH_L1, train_cfg={**RETINA["train_cfg"], "pos_weight": pos_weight}
        )
    with pytest.raises(ValueError, match=r"train_cfg\.pos_weight must be -1: .*, got 2\.0"):
        build("Retina", loss_cls=FOCAL, loss_bbox=SMOOTH_L1, train_cfg={**RETINA["train_cfg"], "pos_weight": 2.0})
