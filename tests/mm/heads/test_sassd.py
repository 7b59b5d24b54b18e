"""The head of SA-SSD: each published rule, against the host or written out by hand."""

import math

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS, TASK_UTILS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.testing import assert_close

from lidar_rank.assign import AnchorIndex
from lidar_rank.geometry import pairwise_iou_3d, pairwise_iou_bev
from lidar_rank.mm.sassd import SASSDFeatures
from lidar_rank.models.sassd import confidence_targets

CHANNELS, CELLS = 8, 12
RANGE, VOXEL = [0, -4.8, -3, 9.6, 4.8, 1], [0.1, 0.1, 0.2]
COLUMNS = 96
CAR_A = [3.0, 0.3, -1.7, 4.0, 1.7, 1.5, 0.1]
CAR_B = [6.1, -2.0, -1.6, 3.7, 1.6, 1.6, 1.5]
WALKER = [4.4, 3.2, -1.7, 0.8, 0.6, 1.7, 0.0]


def build(classes: int = 1, std: float = 0.3, **options) -> nn.Module:
    init_default_scope("mmdet3d")
    torch.manual_seed(0)

    def assigner(positive: float, negative: float) -> dict:
        thresholds = {"pos_iou_thr": positive, "neg_iou_thr": negative, "min_pos_iou": 0.0}
        return {"type": "lidar_rank.AnchorAssigner", **thresholds}

    assigners = [assigner(0.6, 0.45), assigner(0.5, 0.35)][:classes]
    config = {
        "type": "lidar_rank.SASSDHead",
        "num_classes": classes,
        "in_channels": CHANNELS,
        "feat_channels": CHANNELS,
        "point_cloud_range": RANGE,
        "voxel_size": VOXEL,
        "anchor_generator": {
            "type": "AlignedAnchor3DRangeGenerator",
            "ranges": [[0, -4.8, -1.78, 9.6, 4.8, -1.78]] * classes,
            "sizes": [[3.9, 1.6, 1.56], [0.8, 0.6, 1.73]][:classes],
            "rotations": [0, 1.57],
            "reshape_out": classes == 1,
        },
        "assigner_per_size": classes > 1,
        "assign_per_class": classes > 1,
        "loss_cls": {"type": "lidar_rank.SigmoidFocalLoss", "scope": "image"},
        "loss_bbox": {"type": "lidar_rank.SmoothL1Loss", "beta": 1 / 9, "loss_weight": 2.0, "reduction": "none"},
        "loss_dir": {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 0.2},
        "part_warping": {
            "type": "lidar_rank.PartSensitiveWarping",
            "point_cloud_range_m": RANGE,
            "in_channels": CHANNELS,
        },
        "loss_part": {"type": "lidar_rank.SigmoidFocalLoss"},
        "train_cfg": ConfigDict(assigner=assigners if classes > 1 else assigners[0], allowed_border=0, pos_weight=-1),
        "test_cfg": ConfigDict(score_thr=0.3, nms_thr=0.1),
        **options,
    }
    head = MODELS.build(ConfigDict(config))
    for layer in (head.conv_cls, head.conv_reg, head.conv_dir_cls):
        nn.init.normal_(layer.weight, std=std)
    return head


def everywhere(scans: int) -> Tensor:
    """A voxel in every column of every scan."""
    grid = torch.cartesian_prod(
        torch.arange(scans), torch.zeros(1, dtype=torch.long), torch.arange(COLUMNS), torch.arange(COLUMNS)
    )
    return grid.int()


def features(scans: int = 2, voxels: Tensor | None = None, seed: int = 1) -> SASSDFeatures:
    generator = torch.Generator().manual_seed(seed)
    box_map, part_map = torch.randn(2, scans, CHANNELS, CELLS, CELLS, generator=generator)
    return SASSDFeatures(box_map, part_map, everywhere(scans) if voxels is None else voxels)


def sample(*rows: list[float], labels: list[int] | None = None) -> Det3DDataSample:
    boxes = torch.tensor(rows).reshape(-1, 7)
    out = Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes})
    out.gt_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(boxes), labels_3d=torch.tensor(labels or [0] * len(boxes), dtype=torch.long)
    )
    return out


def anchors_of(head: nn.Module) -> Tensor:
    return head.prior_generator.grid_anchors([(CELLS, CELLS)], device="cpu")[0].reshape(-1, 7)


class Recorded(nn.Module):
    """Stands for a loss or for warping: keeps what it is given, and answers from its second input."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *inputs, **_):
        self.inputs = inputs
        return self.answer(inputs[1])


# ------------------------------------------------------------------------------------------------- anchors, labels


def test_anchors_with_at_most_one_occupied_column_are_ignored():
    voxels = everywhere(2)
    voxels = voxels[(voxels[:, 0] == 0) & (voxels[:, 2] < 40) & (voxels[:, 3] % 7 == 0) & (voxels[:, 2] % 9 == 0)]
    head = build()
    head.loss_cls = Recorded(lambda _: torch.zeros(()))
    head.loss(features(voxels=voxels), [sample(CAR_A), sample()])
    labels = head.loss_cls.inputs[1]
    for row, (x, y, _, length, width, _, yaw) in enumerate(anchors_of(head).tolist()):
        if abs(yaw) > 0.8:
            length, width = width, length
        centres = (voxels[:, [3, 2]] + 0.5) * 0.1 + torch.tensor([0, -4.8])
        inside = (centres - torch.tensor([x, y])).abs() <= torch.tensor([length / 2, width / 2]) + 1e-6
        assert (labels[0, row] == -1) == (inside.all(1).sum() <= 1)
    assert set(labels[0].tolist()) == {-1, 0, 1}
    assert set(labels[1].tolist()) == {-1}, "nothing was seen in the second scan"


@pytest.mark.parametrize("classes", [1, 2])
def test_objects_are_matched_among_occupied_anchors_as_the_host_matches(classes):
    """As if the other anchors did not exist: an object whose best anchor is not occupied takes the best that is."""
    head = build(classes)
    scene = [CAR_A, CAR_B, WALKER][: classes + 1]
    anchors = anchors_of(head)
    generator = torch.Generator().manual_seed(3)
    occupied = torch.rand(len(anchors), generator=generator) < 0.4
    objects = sample(*scene, labels=[0, 0, 1][: classes + 1]).gt_instances_3d
    maps = [torch.zeros(1, 2 * classes * classes, CELLS, CELLS)]
    _, labels, boxes, _ = head._targets(maps, [objects], [{"occupied": occupied}], None)
    assert (labels[0][~occupied] == -1).all()

    truth = sample(*scene, labels=[0, 0, 1][: classes + 1]).gt_instances_3d
    for label, thresholds in enumerate([(0.6, 0.45), (0.5, 0.35)][:classes]):
        mine = occupied & (torch.arange(len(anchors)) // 2 % classes == label)
        own = InstanceData(
            bboxes_3d=truth.bboxes_3d.tensor[truth.labels_3d == label],
            labels_3d=truth.labels_3d[truth.labels_3d == label],
        )
        host = {
            "type": "Max3DIoUAssigner",
            "iou_calculator": {"type": "BboxOverlapsNearest3D"},
            "pos_iou_thr": thresholds[0],
            "neg_iou_thr": thresholds[1],
            "min_pos_iou": 1e-6,
        }
        want = TASK_UTILS.build(host).assign(InstanceData(priors=anchors[mine]), own, None)
        assert (want.gt_inds > 0).sum() >= len(own)
        expected = torch.where(want.gt_inds > 0, label, torch.where(want.gt_inds == 0, classes, -1))
        assert_close(labels[0][mine], expected)
        positive = want.gt_inds > 0
        deltas = head.bbox_coder.encode(anchors[mine][positive], own.bboxes_3d[want.gt_inds[positive] - 1])
        assert_close(boxes[0][mine][positive], deltas)


def test_losses_are_over_the_positives_of_each_scan_then_over_scans():
    head = build()
    x = features()
    scans = [[CAR_A], [CAR_A, CAR_B]]
    both = head.loss(x, [sample(*rows) for rows in scans])
    single = []
    for i, rows in enumerate(scans):
        one = SASSDFeatures(x.box_map[i : i + 1], x.part_map[i : i + 1], everywhere(1))
        single.append(head.loss(one, [sample(*rows)]))
    for name in ("loss_cls", "loss_bbox", "loss_dir"):
        assert single[0][name] != single[1][name]
        assert_close(both[name], (single[0][name] + single[1][name]) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        {"type": "lidar_rank.GHMRLoss", "bins": 10, "momentum": 0.7},
        {"type": "lidar_rank.DecayingSmoothL1Loss", "beta": 0.5, "decay": 0.1, "period": 1},
        {"type": "lidar_rank.DecayingSmoothL1Loss", "beta": 0.5, "decay": 0.1, "period": 1, "reduction": "none"},
        {"type": "lidar_rank.IoUBalancedLocLoss", "w_loc": "auto"},
    ],
    ids=["ghm_r", "decaying", "decaying_per_scan", "iou_balanced"],
)
def test_a_box_loss_with_state_ages_once_a_step_and_does_not_depend_on_the_order_of_scans(loss):
    x, scans = features(), [[CAR_A], [CAR_A, CAR_B]]
    turned = SASSDFeatures(x.box_map.flip(0), x.part_map.flip(0), x.voxels)
    heads = [build(loss_bbox=loss, std=0.1) for _ in range(2)]
    values = []
    for head, maps, order in zip(heads, (x, turned), (scans, scans[::-1]), strict=True):
        values.append([head.loss(maps, [sample(*rows) for rows in order])["loss_bbox"] for _ in range(2)])
    assert_close(values[0], values[1])
    states = [dict(head.loss_bbox.named_buffers()) for head in heads]
    assert states[0]
    assert_close(states[0], states[1])
    for name, value in states[0].items():
        if name.endswith("step"):
            assert value == 2


def test_a_box_loss_of_the_whole_batch_is_taken_as_it_is():
    """A loss that normalises itself over the batch, as GHM-R does, gets all positives in one call."""
    head = build(loss_bbox={"type": "lidar_rank.SmoothL1Loss"})
    each = build(loss_bbox={"type": "lidar_rank.SmoothL1Loss", "reduction": "none"})
    x, positives, single = features(), [], []
    for i, rows in enumerate([[CAR_A], [CAR_A, CAR_B]]):
        one = SASSDFeatures(x.box_map[i : i + 1], x.part_map[i : i + 1], everywhere(1))
        single.append(each.loss(one, [sample(*rows)])["loss_bbox"])
        labels = each._targets(each(one)[0], [sample(*rows).gt_instances_3d], each._with_occupied(one, [{}]), None)[1]
        positives.append((labels == 0).sum())
    both = head.loss(x, [sample(CAR_A), sample(CAR_A, CAR_B)])["loss_bbox"]
    assert positives[0] != positives[1]
    assert_close(both, (single[0] * positives[0] + single[1] * positives[1]) / sum(positives))


def test_values_that_are_normalised_already_are_not_averaged_again():
    with pytest.raises(ValueError, match='leave out reduction="none"'):
        build(loss_bbox={"type": "lidar_rank.GHMRLoss", "reduction": "none"})


@pytest.mark.parametrize("scene", [[[CAR_A], [CAR_B]], [[], [CAR_A]], [[], []]], ids=["all", "one_empty", "none"])
@pytest.mark.parametrize("seen", [True, False])
def test_every_loss_is_called_once_a_batch_whatever_it_holds(scene, seen):
    """Losses average over the ranks of a distributed run: a rank that calls one less often would stop the others."""
    head = build()
    called = []
    for name in ("loss_cls", "loss_bbox", "loss_dir", "loss_part"):
        getattr(head, name).register_forward_hook(lambda *_, name=name: called.append(name))
    voxels = everywhere(2) if seen else everywhere(2)[:0]
    loss = head.loss(features(voxels=voxels), [sample(*rows) for rows in scene])
    assert sorted(called) == ["loss_bbox", "loss_cls", "loss_dir", "loss_part"]
    sum(loss.values()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("classes", [1, 2])
def test_the_index_of_anchors_is_built_once_for_all_scans(classes, monkeypatch):
    built = []
    original = AnchorIndex.__init__

    def counting(self, anchors, overlap="nearest_bev"):
        built.append(overlap)
        original(self, anchors, overlap)

    head = build(classes)
    monkeypatch.setattr(AnchorIndex, "__init__", counting)
    for seed in range(3):
        kept = torch.rand(2 * COLUMNS * COLUMNS, generator=torch.Generator().manual_seed(seed)) < 0.001
        scene = [sample(CAR_A, WALKER, labels=[0, classes - 1]), sample(CAR_B, WALKER, labels=[0, classes - 1])]
        head.loss(features(voxels=everywhere(2)[kept]), scene)
    assert built.count("nearest_bev") == classes


def test_an_assigner_that_takes_no_mask_is_refused():
    host = {"type": "Max3DIoUAssigner", "pos_iou_thr": 0.6, "neg_iou_thr": 0.45, "min_pos_iou": 0.0}
    host["iou_calculator"] = {"type": "BboxOverlapsNearest3D"}
    with pytest.raises(ValueError, match=r"must be lidar_rank\.AnchorAssigner, got Max3DIoUAssigner"):
        build(train_cfg=ConfigDict(assigner=host, allowed_border=0, pos_weight=-1))


def test_box_loss_of_one_scan_is_smooth_l1_over_positives_with_the_sine_of_the_turn():
    head = build()
    x = features(1)
    loss = head.loss(x, [sample(CAR_A)])["loss_bbox"].item()
    objects = sample(CAR_A).gt_instances_3d
    occupied = {"occupied": torch.ones(CELLS * CELLS * 2, dtype=torch.bool)}
    _, labels, wanted, _ = head._targets(head(x)[0], [objects], [occupied], None)
    rows = (labels[0] == 0).nonzero().squeeze(1)
    deltas = head(x)[1][0].permute(0, 2, 3, 1).reshape(-1, 7)
    total = 0.0
    for pred, want in zip(deltas[rows].tolist(), wanted[0][rows].tolist(), strict=True):
        errors = [a - b for a, b in zip(pred[:6], want[:6], strict=True)] + [math.sin(pred[6] - want[6])]
        total += sum(d * d * 4.5 if abs(d) < 1 / 9 else abs(d) - 1 / 18 for d in errors)
    assert len(rows) >= 2
    assert loss == pytest.approx(2 * total / len(rows), rel=1e-4)


def test_starts_from_torchs_own_initialisation_unless_a_prior_is_given():
    for prior in (None, 0.01):
        head = build(prior_prob=prior)
        torch.manual_seed(5)
        fresh = nn.Conv2d(CHANNELS, 2, 1)
        head.conv_cls.load_state_dict(fresh.state_dict())
        warping = [parameter.clone() for parameter in head.part_warping.parameters()]
        head.init_weights()
        assert_close(head.conv_cls.weight, fresh.weight)
        bias = fresh.bias if prior is None else torch.full((2,), math.log(0.01 / 0.99))
        assert_close(head.conv_cls.bias.data, bias.data)
        for before, after in zip(warping, head.part_warping.parameters(), strict=True):
            assert_close(after, before)


# -------------------------------------------------------------------------------------------------------- proposals


def test_proposals_are_occupied_anchors_above_the_threshold_decoded_and_turned():
    head = build()
    x = features(1)
    outs = head(x)
    scores = outs[0][0].permute(0, 2, 3, 1).reshape(-1).sigmoid()
    head.proposal_score_thr = scores.quantile(0.7).item()
    occupied = torch.arange(len(scores)) % 3 > 0
    (found,) = head._proposals(outs, [{"occupied": occupied}])
    rows = ((scores > head.proposal_score_thr) & occupied).nonzero().squeeze(1)
    deltas = outs[1][0].permute(0, 2, 3, 1).reshape(-1, 7)[rows]
    boxes = head.bbox_coder.decode(anchors_of(head)[rows], deltas)
    assert 20 < len(rows) < len(scores) * 0.3
    assert_close(found.boxes[:, :6], boxes[:, :6])
    turn = (found.boxes[:, 6] - boxes[:, 6]) / math.pi
    assert_close(turn, turn.round(), rtol=0, atol=1e-5)
    backwards = outs[2][0].permute(0, 2, 3, 1).reshape(-1, 2)[rows].argmax(1) == 1
    assert 5 < backwards.sum() < len(rows) - 5
    assert ((found.boxes[:, 6].cos() < 0) == backwards).all()


def test_the_best_anchors_are_proposals_in_training_while_all_scores_are_low():
    head = build(min_proposals=25, proposal_score_thr=0.999)
    x, metas = features(2), [{"occupied": torch.arange(2 * CELLS * CELLS) % 3 > 0}] * 2
    outs = head(x)
    assert [len(found.boxes) for found in head._proposals(outs, metas)] == [0, 0]
    proposals = head._proposals(outs, metas, head.min_proposals)
    for found, scores in zip(proposals, outs[0][0].sigmoid(), strict=True):
        best = scores.permute(1, 2, 0).flatten()[metas[0]["occupied"]].sort(descending=True).values[:25]
        assert_close(found.scores.sort(descending=True).values, best)
    few = [{"occupied": torch.arange(2 * CELLS * CELLS) < 3}] * 2
    assert [len(found.boxes) for found in head._proposals(outs, few, head.min_proposals)] == [3, 3]
    head.part_warping = Recorded(lambda boxes: [own.sum(1) * 0 for own in boxes])
    head.loss(x, [sample(CAR_A), sample()])
    assert [len(own) for own in head.part_warping.inputs[1]] == [26, 25], "and the objects"


def test_direction_classes_split_at_the_sensors_forward_axis():
    """The authors' class is that of headings with x > 0; the host's classes are these two, counted the other way."""
    head = build()
    for yaw in (0.3, 3.0, -1.2, -2.8):
        box = [3.0, 0.3, -1.7, 4.0, 1.7, 1.5, yaw]
        occupied = {"occupied": torch.ones(CELLS * CELLS * 2, dtype=torch.bool)}
        maps = [torch.zeros(1, 2, CELLS, CELLS)]
        _, labels, _, directions = head._targets(maps, [sample(box).gt_instances_3d], [occupied], None)
        assert set(directions[labels == 0].tolist()) == {int(math.cos(yaw) < 0)}


def test_a_proposal_is_positive_from_seventy_percent_in_3d_and_so_is_each_objects_best():
    generator = torch.Generator().manual_seed(0)
    objects = torch.tensor([CAR_A, CAR_B, WALKER])
    noise = torch.randn(60, 7, generator=generator) * torch.tensor([0.3, 0.15, 0.1, 0.2, 0.1, 0.1, 0.1])
    boxes = objects[torch.arange(60) % 2] + noise
    boxes = torch.cat([boxes, torch.tensor([WALKER]) + torch.tensor([[0.5, 0.2, 0, 0, 0, 0, 0.0]])])
    labels, overlap = confidence_targets(boxes, objects)
    iou = pairwise_iou_3d(boxes.double().numpy(), objects.double().numpy())
    positive = (iou.max(1) >= 0.7) | (iou == iou.max(0)).any(1)
    assert 5 < positive.sum() < 55
    assert iou[-1].max() < 0.7, "the walker's only proposal is positive all the same"
    np.testing.assert_array_equal(labels.numpy() == 0, positive)
    assert set(labels.tolist()) == {0, 1}
    assert_close(overlap.double(), torch.from_numpy(iou.max(1)), rtol=0, atol=1e-5)


def test_confidences_of_objects_and_proposals_are_trained_with_focal_loss_over_the_batch():
    head = build()
    logits = [torch.tensor([0.3, -1.0, 2.0]), torch.tensor([-0.2])]
    proposals = [torch.tensor([CAR_B, [3.1, 0.3, -1.7, 4.0, 1.7, 1.5, 0.1]]), torch.tensor([CAR_B])]
    head.part_warping = Recorded(lambda _: logits)
    loss = head._loss_of_parts(
        torch.zeros(2, CHANNELS, CELLS, CELLS), proposals, [torch.tensor([CAR_A]), torch.zeros(0, 7)]
    )
    first, second = head.part_warping.inputs[1]
    assert_close(first, torch.cat([torch.tensor([CAR_A]), proposals[0]]))
    assert_close(second, proposals[1])

    def focal(logit: float, positive: bool) -> float:
        p = 1 / (1 + math.exp(-logit))
        return -0.25 * (1 - p) ** 2 * math.log(p) if positive else -0.75 * p**2 * math.log(1 - p)

    total = focal(0.3, True) + focal(-1.0, False) + focal(2.0, True) + focal(-0.2, False)
    assert loss.item() == pytest.approx(total / 2 / 2, rel=1e-5)


def test_gradient_of_confidences_reaches_the_box_regression():
    head = build(std=0.05)
    loss = head.loss(features(), [sample(CAR_A), sample(CAR_B)])["loss_part"]
    gradient = torch.autograd.grad(loss, [head.conv_reg.weight, head.part_warping.part_maps[0].weight])
    assert all(part.abs().max() > 0 for part in gradient)


# ----------------------------------------------------------------------------------------------------------- testing


def greedy_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        if (pairwise_iou_bev(boxes[[row]], boxes[kept]) <= threshold).all():
            kept.append(row)
    return kept


@pytest.mark.parametrize("classes", [1, 2])
def test_the_confidence_of_the_parts_is_the_score(classes):
    head = build(classes, std=0.1).eval()
    x = features(1)
    (found,) = head._proposals(head(x), head._with_occupied(x, [{}]))
    logits = torch.randn(len(found.boxes), generator=torch.Generator().manual_seed(2))
    head.part_warping = Recorded(lambda _: [logits])
    (got,) = head.predict(x, [sample()])
    assert_close(head.part_warping.inputs[0], x.part_map)
    assert_close(head.part_warping.inputs[1][0], found.boxes)

    scores = logits.sigmoid()
    want = []
    for label in range(classes):
        rows = ((scores > 0.3) & (found.labels == label)).nonzero().squeeze(1).numpy()
        boxes = found.boxes.detach().double().numpy()[rows][:, [0, 1, 3, 4, 6]]
        want += rows[greedy_nms(boxes, scores.numpy()[rows], 0.1)].tolist()
    assert (scores < 0.3).any()
    assert 3 < len(want) < (scores > 0.3).sum()
    assert_close(got.scores_3d, scores[want])
    assert_close(got.bboxes_3d.tensor, found.boxes.detach()[want])
    assert got.labels_3d.tolist() == found.labels[want].tolist()
    assert isinstance(got.bboxes_3d, LiDARInstance3DBoxes)


@pytest.mark.parametrize("ranked_by", ["anchor", "both"])
def test_detections_can_be_ranked_by_the_scores_of_their_anchors(ranked_by):
    head = build(std=0.1, test_cfg=ConfigDict(score_thr=0.3, nms_thr=0.1, ranked_by=ranked_by)).eval()
    x = features(1)
    (found,) = head._proposals(head(x), head._with_occupied(x, [{}]))
    logits = torch.randn(len(found.boxes), generator=torch.Generator().manual_seed(2))
    head.part_warping = Recorded(lambda _: [logits])
    (got,) = head.predict(x, [sample()])
    confidence, anchor = logits.sigmoid(), found.scores.detach()
    scores = anchor if ranked_by == "anchor" else (confidence * anchor) ** 0.5
    rows = (confidence > 0.3).nonzero().squeeze(1).numpy()
    boxes = found.boxes.detach().double().numpy()[rows][:, [0, 1, 3, 4, 6]]
    want = rows[greedy_nms(boxes, scores.numpy()[rows], 0.1)]
    assert len(want) > 3
    assert_close(got.scores_3d, scores[want])
    assert_close(got.bboxes_3d.tensor, found.boxes.detach()[want])


def test_an_unknown_score_is_refused():
    with pytest.raises(ValueError, match="ranked_by must be one of confidence, anchor, both, got 'score'"):
        build(test_cfg=ConfigDict(score_thr=0.3, nms_thr=0.1, ranked_by="score"))


def test_nothing_is_detected_where_nothing_was_seen():
    head = build().eval()
    voxels = everywhere(1)
    seen = voxels[voxels[:, 3] < 30]
    head.part_warping = Recorded(lambda boxes: [own.new_full((len(own),), 3.0) for own in boxes])
    for voxels, most_m in ((seen, 3.0 + 2.0), (seen[:0], 0.0)):
        (found,) = head._proposals(head(features(1)), head._with_occupied(features(1, voxels), [{}]))
        assert (len(found.boxes) == 0) == (most_m == 0)
        (got,) = head.predict(features(1, voxels), [sample()])
        assert (len(got.scores_3d) == 0) == (most_m == 0)


# ------------------------------------------------------------------------------------------------ losses, bad input


@pytest.mark.parametrize(
    "options",
    [
        {"loss_cls": {"type": "lidar_rank.DRLoss"}, "prior_prob": 0.5},
        {"loss_cls": {"type": "lidar_rank.RankDetLoss"}},
        {"loss_cls": {"type": "lidar_rank.GHMCLoss"}, "loss_bbox": {"type": "lidar_rank.GHMRLoss"}},
        {
            "loss_cls": {"type": "lidar_rank.IoUBalancedClsLoss"},
            "loss_bbox": {"type": "lidar_rank.IoUBalancedLocLoss"},
        },
        {"loss_part": {"type": "lidar_rank.RankDetLoss"}},
    ],
    ids=["dr", "rankdet", "ghm", "iou_balanced", "rankdet_of_parts"],
)
@pytest.mark.parametrize(
    "scene", [[[CAR_A], [CAR_A, CAR_B]], [[], [CAR_A]], [[], []]], ids=["all", "one_empty", "none"]
)
def test_losses_of_the_core_stand_in(options, scene):
    head = build(std=0.05, **options)
    loss = head.loss(features(), [sample(*rows) for rows in scene])
    sum(loss.values()).backward()
    assert all(torch.isfinite(value) for value in loss.values())
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in head.parameters())
    if scene[0]:
        assert loss["loss_cls"] > 0


def test_scans_without_voxels_give_zero_with_a_graph():
    head = build()
    loss = head.loss(features(voxels=everywhere(1)[:0]), [sample(), sample()])
    sum(loss.values()).backward()
    assert sum(loss.values()) == 0


@pytest.mark.parametrize(("column", "value"), [(6, math.nan), (3, 0.0)])
def test_an_object_that_is_no_box_is_named(column, value):
    row = list(CAR_A)
    row[column] = value
    with pytest.raises(ValueError, match=r"a scan .*: objects\[0\] has .*; values must be finite and sizes > 0"):
        build().loss(features(1), [sample(row)])


def test_boxes_that_overflow_are_no_proposals():
    head = build()
    head.conv_cls.bias.data.fill_(5)
    head.conv_reg.bias.data[3:6] = 1e3
    loss = head.loss(features(1), [sample()])
    assert torch.isfinite(loss["loss_part"])


def test_a_head_without_directions_is_refused():
    with pytest.raises(ValueError, match="use_direction_classifier must be True"):
        build(use_direction_classifier=False)
