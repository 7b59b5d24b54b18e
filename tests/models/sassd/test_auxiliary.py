"""The auxiliary network: its targets against Shapely and by hand, its losses against the formulas written out."""

import math

import numpy as np
import pytest
import torch
from shapely import Point
from shapely.affinity import rotate, translate
from shapely.geometry import box as rectangle
from torch import Tensor
from torch.testing import assert_close

from lidar_rank.models.sassd import AuxiliaryNetwork, SparseBackbone, VoxelLevel, auxiliary_targets, interpolate

RANGE = (0, -40, -3, 70.4, 40, 1)
VOXEL = (0.05, 0.05, 0.1)
CAR = [10.0, 2.0, -1.8, 4.0, 1.6, 1.5, 0.5]
TALL = [20.0, -3.0, -1.7, 0.8, 0.6, 1.8, 2.0]


def cloud(boxes: Tensor, count: int = 400, seed: int = 0) -> Tensor:
    """Points (P, 3) around each box, in and out of it."""
    generator = torch.Generator().manual_seed(seed)
    spread = 1.5 * boxes[:, None, [3, 3, 5]]
    around = (torch.rand(len(boxes), count, 3, generator=generator) - 0.5) * spread
    around[..., 2] += boxes[:, None, 5] / 2
    return (boxes[:, None, :3] + around).reshape(-1, 3)


def with_scan(points: Tensor, scan: int) -> Tensor:
    return torch.cat([torch.full((len(points), 1), float(scan)), points], dim=1)


def test_points_in_rotated_boxes_are_foreground_as_shapely_says():
    boxes = torch.tensor([CAR, TALL])
    points = cloud(boxes)
    labels, _ = auxiliary_targets(with_scan(points, 0), [boxes])
    inside = np.zeros(len(points), bool)
    for x, y, z, length, width, height, yaw in boxes.double().tolist():
        outline = rectangle(-length / 2, -width / 2, length / 2, width / 2)
        outline = translate(rotate(outline, yaw, origin=(0, 0), use_radians=True), x, y)
        within = [outline.contains(Point(*point[:2])) and z < point[2] < z + height for point in points.tolist()]
        inside |= within
    assert 50 < inside.sum() < 700
    assert (labels == 0).tolist() == inside.tolist()


def test_offsets_run_from_the_centre_at_half_height_to_the_point():
    point = [20.1, -2.9, -0.5]
    _, offsets = auxiliary_targets(with_scan(torch.tensor([point]), 0), [torch.tensor([TALL])])
    assert_close(offsets, torch.tensor([[0.1, 0.1, -0.5 - (-1.7 + 1.8 / 2)]]))


def test_the_authors_take_half_the_width_for_the_height():
    points = with_scan(torch.tensor([[*TALL[:2], -1.0], [*CAR[:2], -1.0]]), 0)
    boxes = [torch.tensor([TALL, CAR])]
    _, right = auxiliary_targets(points, boxes)
    _, authors = auxiliary_targets(points, boxes, "half_width")
    assert_close(authors[:, :2], right[:, :2])
    assert_close((authors - right)[:, 2], torch.tensor([(1.8 - 0.6) / 2, (1.5 - 1.6) / 2]))


def test_the_last_of_several_boxes_around_a_point_counts():
    shifted = [CAR[0] + 0.5, *CAR[1:]]
    point = with_scan(torch.tensor([[10.2, 2.0, -1.0]]), 0)
    _, offsets = auxiliary_targets(point, [torch.tensor([CAR, shifted])])
    assert offsets[0, 0].item() == pytest.approx(10.2 - 10.5, abs=1e-6)
    _, offsets = auxiliary_targets(point, [torch.tensor([shifted, CAR])])
    assert offsets[0, 0].item() == pytest.approx(10.2 - 10.0, abs=1e-6)


def test_objects_of_one_scan_do_not_reach_points_of_another():
    inside = torch.tensor([[*CAR[:2], -1.0]])
    points = torch.cat([with_scan(inside, scan) for scan in (2, 0, 1)])
    labels, offsets = auxiliary_targets(points, [torch.zeros(0, 7), torch.tensor([CAR]), torch.zeros(0, 7)])
    assert labels.tolist() == [1, 1, 0]
    assert offsets[:2].abs().sum() == 0


def test_voxel_centres_are_those_of_each_stride():
    net = AuxiliaryNetwork(VOXEL, RANGE)
    indices = torch.tensor([[1, 2, 3, 4]], dtype=torch.int32)  # scan, z, y, x
    for stride, size in ((2, (0.1, 0.1, 0.2)), (4, (0.2, 0.2, 0.4)), (8, (0.4, 0.4, 0.8))):
        centre = net.voxel_centres(VoxelLevel(torch.zeros(1, 1), indices, stride))
        want = [1, 4.5 * size[0] + 0, 3.5 * size[1] - 40, 2.5 * size[2] - 3]
        assert_close(centre, torch.tensor([want]))


def levels(seed: int = 0, width: tuple[int, ...] = (32, 64, 64)) -> list[VoxelLevel]:
    generator = torch.Generator().manual_seed(seed)
    out = []
    for stride, channels in zip((2, 4, 8), width, strict=True):
        count = 800 // stride
        shape = torch.tensor([40 // stride, 1600 // stride, 1408 // stride])
        cells = (torch.rand(count, 3, generator=generator) * shape).int()
        scan = torch.randint(0, 2, (count, 1), generator=generator, dtype=torch.int32)
        features = torch.randn(count, channels, generator=generator)
        out.append(VoxelLevel(features, torch.cat([scan, cells], dim=1), stride))
    return out


def test_it_is_three_linear_layers_on_the_joined_levels():
    torch.manual_seed(0)
    net = AuxiliaryNetwork(VOXEL, RANGE)
    parameters = {name: tuple(parameter.shape) for name, parameter in net.named_parameters()}
    assert parameters == {"hidden.weight": (64, 160), "foreground.weight": (1, 64), "offset.weight": (3, 64)}
    points = with_scan(torch.tensor([[30.0, 3.0, -1.0], [5.0, -30.0, 0.0]]), 1)
    read = [
        interpolate(points, net.voxel_centres(level), level.features, [edge * level.stride for edge in VOXEL])
        for level in levels()
    ]
    hidden = torch.cat(read, dim=1) @ net.hidden.weight.T
    logits, offsets = net(points, levels())
    assert_close(logits, (hidden @ net.foreground.weight.T)[:, 0])
    assert_close(offsets, hidden @ net.offset.weight.T)


def batch() -> tuple[Tensor, list[Tensor]]:
    boxes = [torch.tensor([CAR, TALL]), torch.tensor([TALL])]
    points = [with_scan(cloud(own, 100, seed), seed) for seed, own in enumerate(boxes)]
    return torch.cat(points), boxes


def test_losses_are_over_the_foreground_of_the_batch_and_the_scans():
    torch.manual_seed(0)
    net = AuxiliaryNetwork(VOXEL, RANGE)
    points, boxes = batch()
    with torch.no_grad():
        logits, offsets = net(points, levels())
        got = net.loss(points, levels(), boxes)
    labels, wanted = auxiliary_targets(points, boxes)
    positives, focal, smooth = 0, 0.0, 0.0
    for logit, offset, label, want in zip(*(x.tolist() for x in (logits, offsets, labels, wanted)), strict=True):
        p = 1 / (1 + math.exp(-logit))
        if label == 0:
            positives += 1
            focal += -0.25 * (1 - p) ** 2 * math.log(p)
            for a, b in zip(offset, want, strict=True):
                d = abs(a - b)
                smooth += d * d / 2 * 9 if d < 1 / 9 else d - 1 / 18
        else:
            focal += -0.75 * p**2 * math.log(1 - p)
    assert positives > 20
    assert got["loss_aux_foreground"].item() == pytest.approx(focal / positives / 2, rel=1e-4)
    assert got["loss_aux_centre"].item() == pytest.approx(smooth / positives / 2, rel=1e-4)


@pytest.mark.parametrize("points", [0, 50])
def test_without_objects_losses_are_finite_with_a_graph(points):
    net = AuxiliaryNetwork(VOXEL, RANGE)
    somewhere = with_scan(torch.rand(points, 3) * 10, 0)
    loss = net.loss(somewhere, levels(), [torch.zeros(0, 7), torch.zeros(0, 7)])
    sum(loss.values()).backward()
    assert all(torch.isfinite(value) for value in loss.values())
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_autocast_changes_nothing():
    net = AuxiliaryNetwork(VOXEL, RANGE)
    points, boxes = batch()
    want = net.loss(points, levels(), boxes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = net.loss(points, levels(), boxes)
    assert_close(got, want)


def test_voxel_features_learn_from_it():
    """A few steps on one batch: both losses fall, and the sparse backbone is what learns."""
    torch.manual_seed(0)
    shape, size = [10, 24, 24], (0.4, 0.4, 0.4)
    backbone = SparseBackbone(channels=(8, 16, 16), depths=(1, 1, 1), sparse_shape=shape, norm_momentum=0.1)
    net = AuxiliaryNetwork(size, (0, -4.8, -3, 9.6, 4.8, 1), level_channels=(16, 16))
    boxes = [torch.tensor([[4.0, 0.5, -2.0, 3.0, 1.5, 1.5, 0.4]])]
    cells = torch.arange(0, 10 * 24 * 24, 7)
    indices = torch.stack([cells * 0, *torch.unravel_index(cells, tuple(shape))], dim=1).int()
    xyz = (indices[:, [3, 2, 1]] + 0.5) * 0.4 + torch.tensor([0.0, -4.8, -3.0])
    voxels = torch.cat([xyz, torch.rand(len(xyz), 1)], dim=1)
    optimizer = torch.optim.AdamW([*backbone.parameters(), *net.parameters()], lr=0.01)
    history = []
    for _ in range(30):
        _, found = backbone(voxels, indices, 1)
        losses = net.loss(with_scan(xyz, 0), found, boxes)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append([value.item() for value in losses.values()])
    assert (torch.tensor(history[-1]) < 0.5 * torch.tensor(history[0])).all()
    assert any(parameter.grad.abs().sum() > 0 for parameter in backbone.parameters())


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"centre must be one of .*got 'middle'"):
        AuxiliaryNetwork(VOXEL, RANGE, centre="middle")
    broken = torch.tensor([[*CAR[:6], math.nan]])
    with pytest.raises(ValueError, match="finite"):
        auxiliary_targets(with_scan(torch.zeros(1, 3), 0), [broken])
