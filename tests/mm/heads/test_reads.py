"""A training step does not leave the device: what our heads and SA-SSD's auxiliary network wait for, one by one."""

from collections import Counter

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.testing import assert_close

from lidar_rank.models.sassd import AuxiliaryNetwork, OccupiedAnchors, VoxelLevel, auxiliary_targets, confidence_targets
from tests import reads

from .test_sassd import CAR_A, CAR_B, CHANNELS, RANGE, VOXEL, WALKER, anchors_of, build, features, sample

DEVICES = pytest.mark.parametrize("device", reads.DEVICES)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """A GPU's convolutions round to ten bits unless told not to, and scores near a threshold would cross it."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def step(head, device: str, x, scenes: list[list], counted: bool = True):
    """Losses and gradients of one step on the device, and what our code read in the forward pass."""
    head = head.to(device).train()
    x = type(x)(*(part.to(device) for part in x)) if isinstance(x, tuple) else [part.to(device) for part in x]

    def samples() -> list:
        return [sample(*rows, labels=labels).to(device) for rows, labels in scenes]

    if not counted:
        losses, found = head.loss(x, samples()), []
    else:
        with reads.on_device(device):
            head.loss(x, samples())  # anchors and their places are copied to the device once
        own = samples()
        with reads.recorded(device) as found:
            losses = head.loss(x, own)
    gradient = torch.autograd.grad(sum(losses.values()), [p for p in head.parameters() if p.requires_grad])
    values = {name: value.detach().cpu() for name, value in losses.items()}
    return values, [part.cpu() for part in gradient], [read for read in found if read.is_ours]


def assert_alike(got: tuple, want: tuple) -> None:
    assert_close(got[0], want[0], rtol=1e-3, atol=1e-4)
    for one, other in zip(got[1], want[1], strict=True):
        assert_close(one, other, rtol=1e-2, atol=1e-2 * max(other.abs().max().item(), 1e-3))


@DEVICES
@pytest.mark.parametrize("classes", [1, 2])
def test_head_of_sa_ssd_reads_only_where_positives_and_proposals_are(device, classes):
    scenes = [([CAR_A, CAR_B], [0, 0]), ([CAR_A, WALKER][:classes], [0, 1][:classes])]
    kept = features().voxels
    x = features(voxels=kept[(kept[:, 2] + kept[:, 3]) % 7 < 3])
    want = step(build(classes, std=0.05), "cpu", x, scenes, counted=False)
    got = step(build(classes, std=0.05), device, x, scenes)
    assert_alike(got, want)
    files = Counter(read.file.name for read in got[2])
    assert files == {"anchor3d.py": 1, "sassd.py": 2}, got[2]


def second_head() -> torch.nn.Module:
    init_default_scope("mmdet3d")
    torch.manual_seed(0)
    head = MODELS.build(
        ConfigDict(
            type="lidar_rank.PerImageAnchor3DHead",
            num_classes=1,
            in_channels=CHANNELS,
            feat_channels=CHANNELS,
            anchor_generator={
                "type": "AlignedAnchor3DRangeGenerator",
                "ranges": [[0, -4.8, -1.78, 9.6, 4.8, -1.78]],
                "sizes": [[3.9, 1.6, 1.56]],
                "rotations": [0, 1.57],
                "reshape_out": True,
            },
            diff_rad_by_sin=True,
            loss_cls={"type": "lidar_rank.RankDetLoss"},
            loss_bbox={"type": "lidar_rank.SmoothL1Loss", "beta": 1 / 9, "loss_weight": 2.0},
            loss_dir={"type": "mmdet.CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 0.2},
            train_cfg=ConfigDict(
                assigner={
                    "type": "lidar_rank.AnchorAssigner",
                    "pos_iou_thr": 0.6,
                    "neg_iou_thr": 0.45,
                    "min_pos_iou": 0.45,
                },
                allowed_border=0,
                pos_weight=-1,
            ),
        )
    )
    for layer in (head.conv_cls, head.conv_reg, head.conv_dir_cls):
        torch.nn.init.normal_(layer.weight, std=0.05)
    return head


@DEVICES
def test_head_of_second_reads_only_where_positives_are(device):
    scenes = [([CAR_A, CAR_B], [0, 0]), ([CAR_A], [0])]
    x = [features().box_map]
    want = step(second_head(), "cpu", x, scenes, counted=False)
    got = step(second_head(), device, x, scenes)
    assert_alike(got, want)
    assert [read.file.name for read in got[2]] == ["anchor3d.py"], got[2]


def voxels_of_batch() -> tuple[Tensor, list[VoxelLevel], list[Tensor]]:
    """Points in cars and elsewhere, and the voxels of three levels that they lie in."""
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor(RANGE[:3]), torch.tensor(RANGE[3:])
    xyz = low + torch.rand(3000, 3, generator=generator) * (high - low)
    points = torch.cat([torch.arange(3000)[:, None] % 2, xyz], dim=1)
    levels = []
    for stride, width in ((2, 32), (4, 64), (8, 64)):
        cells = ((xyz - low) / (torch.tensor(VOXEL) * stride)).floor().long().flip(1)
        indices = torch.cat([points[:, :1].long(), cells], dim=1).unique(dim=0).int()
        indices = indices[torch.randperm(len(indices), generator=generator)]
        levels.append(VoxelLevel(torch.randn(len(indices), width, generator=generator), indices, stride))
    return points, levels, [torch.tensor([CAR_A, CAR_B]), torch.tensor([WALKER])]


@DEVICES
def test_auxiliary_network_reads_only_which_points_are_far_from_voxels_and_which_are_inside(device):
    torch.manual_seed(0)
    net = AuxiliaryNetwork(VOXEL, RANGE)
    points, levels, objects = voxels_of_batch()
    want = net.loss(points, levels, objects)
    moved = [VoxelLevel(level.features.to(device), level.indices.to(device), level.stride) for level in levels]
    net, points, objects = net.to(device), points.to(device), [boxes.to(device) for boxes in objects]
    with reads.recorded(device) as found:
        got = net.loss(points, moved, objects)
    assert {name: value.device.type for name, value in got.items()} == dict.fromkeys(got, device)
    assert_close({name: value.cpu() for name, value in got.items()}, want, rtol=1e-3, atol=1e-5)
    assert Counter(read.file.name for read in found) == {"interpolation.py": 3, "auxiliary.py": 1}, found


@DEVICES
@pytest.mark.parametrize("centre", ["half_height", "half_width"])
def test_targets_of_points_equal_those_of_the_kernel(device, centre):
    points, _, objects = voxels_of_batch()
    objects[1] = torch.cat([objects[1], objects[0] + 0.4, torch.tensor([[5.0, 0, -1, 0, 0, 0, 0]])])
    for boxes in (objects, [torch.zeros(0, 7), objects[1]], [torch.zeros(0, 7)] * 2):
        want = auxiliary_targets(points, boxes, centre)
        with reads.recorded(device) as found:
            got = auxiliary_targets(points.to(device), [own.to(device) for own in boxes], centre)
        assert found == [] or device == "cpu"
        for one, other in zip(got, want, strict=True):
            assert_close(one.cpu(), other, rtol=0, atol=0)
        assert len(boxes[1]) == 0 or (want[0] == 0).sum() > 20


@DEVICES
def test_confidence_targets_equal_those_of_the_kernel(device):
    generator = torch.Generator().manual_seed(0)
    objects = torch.tensor([CAR_A, CAR_B, WALKER])
    boxes = objects[torch.arange(300) % 3] + 0.15 * torch.randn(300, 7, generator=generator)
    boxes[:, 3:6] = boxes[:, 3:6].abs() + 0.1
    for own in (objects, objects[:0]):
        want = confidence_targets(boxes, own)
        moved = boxes.to(device), own.to(device)
        with reads.recorded(device) as found:
            got = confidence_targets(*moved)
        assert found == []
        assert torch.equal(got[0].cpu(), want[0])
        assert_close(got[1].cpu(), want[1], rtol=1e-6, atol=0)


@DEVICES
def test_occupied_anchors_of_a_batch_equal_those_of_each_scan(device):
    anchors = anchors_of(build())
    occupied = OccupiedAnchors(anchors, voxel_size_m=VOXEL, point_cloud_range_m=RANGE)
    voxels = features(3).voxels
    generator = torch.Generator().manual_seed(1)
    voxels = voxels[(torch.rand(len(voxels), generator=generator) < 0.004) & (voxels[:, 0] != 1)]
    want = occupied.of_batch(voxels, 3)
    assert 0 < want[0].sum() < len(anchors)
    assert not want[1].any()
    voxels = voxels.to(device)
    with reads.on_device(device):
        occupied.of_batch(voxels, 3)  # copies the places of the anchors once
    with reads.recorded(device) as found:
        got = occupied.of_batch(voxels, 3)
    assert found == []
    assert torch.equal(got.cpu(), want)
    with reads.on_device(device):
        assert not occupied.of_batch(voxels[:0], 3).any()


@DEVICES
def test_detections_equal_those_of_the_kernels(device):
    x = features(2)
    results = []
    for way in ("kernels", device):
        head = build(std=0.1).eval()
        if way == "kernels":
            results.append(head.predict(x, [sample(), sample()]))
            continue
        head = head.to(device)
        moved = type(x)(*(part.to(device) for part in x))
        with reads.on_device(device):
            results.append(head.predict(moved, [sample(), sample()]))
    for want, got in zip(*results, strict=True):
        assert len(want) > 3
        assert_close(got.scores_3d.cpu(), want.scores_3d, rtol=1e-3, atol=1e-4)
        assert_close(got.bboxes_3d.tensor.cpu(), want.bboxes_3d.tensor, rtol=1e-3, atol=1e-3)


def test_a_copy_to_the_cpu_is_recorded(monkeypatch):
    """The tests above fail when somebody puts a ``.cpu()`` back."""
    original = OccupiedAnchors.of_batch
    head, x = build(std=0.05), features()
    for way in (lambda mask: mask.cpu(), lambda mask: mask.to("cpu"), lambda mask: torch.tensor(mask.tolist())):
        monkeypatch.setattr(OccupiedAnchors, "of_batch", lambda *inputs, way=way: way(original(*inputs)))
        with reads.recorded("cpu") as found:
            head.loss(x, [sample(CAR_A), sample()])
        assert {read.what for read in found} & {"cpu", "to", "tolist"}


def test_an_overflowing_box_leaves_a_finite_gradient():
    """exp() of its size is infinite, and the gradient of what is then left out was infinity times zero."""
    head = build(std=0.05)
    head.conv_cls.bias.data.fill_(5)
    head.conv_reg.bias.data[3] = 1e3
    loss = head.loss(features(1), [sample(CAR_A)])["loss_part"]
    (gradient,) = torch.autograd.grad(loss, head.conv_reg.weight)
    assert gradient.isfinite().all()
