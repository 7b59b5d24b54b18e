"""Matching by plain torch: the kernels' answer, on any device, without waiting for it."""

import numpy as np
import pytest
import torch

from lidar_rank.assign import AnchorIndex, assign_anchors
from lidar_rank.assign.tensors import assign_tensors
from lidar_rank.geometry.boxes import nearest_bev as nearest_bev_of_arrays
from lidar_rank.geometry.tensors import nearest_bev, pairwise_overlap
from lidar_rank.kernels.assignment import IGNORED
from tests import reads
from tests.oracles import assign as oracle

from .test_anchors import CAR, OVERLAPS, PEDESTRIAN, grid_anchors, random_boxes

DEVICES = pytest.mark.parametrize("device", reads.DEVICES)


def assert_equals_kernels(device, anchors, objects, overlap, usable, options):
    classes = np.zeros(len(objects), np.int64)
    want = assign_anchors(AnchorIndex(anchors, overlap), objects, classes, num_classes=1, usable=usable, **options)
    anchors, objects = torch.from_numpy(anchors).to(device), torch.from_numpy(objects).to(device)
    mask = None if usable is None else torch.from_numpy(usable).to(device)
    with reads.recorded(device) as found:
        got = assign_tensors(anchors, objects, overlap=overlap, usable=mask, **options)
    assert found == []
    np.testing.assert_array_equal(got.matched.cpu().numpy(), np.where(want.labels < 0, IGNORED, want.matched))
    exact = overlap == "nearest_bev"
    np.testing.assert_allclose(got.overlap.cpu().numpy(), want.overlap, rtol=0 if exact else 1e-6, atol=0)
    return got.matched


@DEVICES
@pytest.mark.parametrize("all_ties", [True, False])
@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("rules", [CAR, PEDESTRIAN, {**CAR, "min_pos_iou": 0.0}], ids=["car", "pedestrian", "any"])
def test_equals_the_kernels(device, overlap, all_ties, rules):
    seen = set()
    grid = grid_anchors(np.linspace(0, 12, 16), np.linspace(0, 12, 16))
    for seed in range(6):
        anchors = grid if seed % 2 else random_boxes(500, seed + 100)
        usable = None if seed < 2 else np.random.default_rng(seed).random(len(anchors)) < seed / 5
        objects = np.concatenate([random_boxes(seed * 3, seed), grid[:seed] + np.float32(0.125)])  # some with ties
        matched = assert_equals_kernels(
            device, anchors, objects, overlap, usable, {**rules, "gt_max_assign_all": all_ties}
        )
        seen |= set(np.sign(matched.cpu().numpy() + 1).tolist())
    assert seen == {-1, 0, 1}


@DEVICES
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_equals_the_kernels_on_the_full_grid(device, overlap):
    anchors = grid_anchors(0.2 + 0.4 * np.arange(176), -39.8 + 0.4 * np.arange(200))
    objects = random_boxes(12, 0, extent_m=70.0) - np.float32([0, 35, 0, 0, 0, 0, 0])
    assert_equals_kernels(device, anchors, objects, overlap, None, CAR)


@DEVICES
@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize(("anchors", "objects"), [(0, 0), (0, 3), (5, 0)])
def test_nothing_to_match(device, overlap, anchors, objects):
    usable = np.arange(anchors) % 2 == 0
    boxes = random_boxes(anchors, 0), random_boxes(objects, 1)
    assert_equals_kernels(device, *boxes, overlap, usable, CAR)


@DEVICES
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_boxes_that_do_not_touch_overlap_by_exactly_nothing(device, overlap):
    """With ``min_pos_iou=0`` a rounding error would match an object that overlaps no anchor."""
    a, b = random_boxes(60, 0, extent_m=40.0), random_boxes(1000, 1, extent_m=40.0)
    want = oracle.overlaps(a.astype(np.float64), b.astype(np.float64), overlap)
    got = pairwise_overlap(torch.from_numpy(a).to(device), torch.from_numpy(b).to(device), overlap)
    assert ((got.cpu().numpy() > 0) == (want > 1e-9)).all()
    assert (want > 0).any(1).sum() > 30


@DEVICES
def test_nearest_bev_equals_that_of_arrays(device):
    boxes = random_boxes(5000, 2)
    boxes[:400, 6] = np.pi / 4 * np.arange(-200, 200) + np.float32(1e-3)
    np.testing.assert_array_equal(nearest_bev(torch.from_numpy(boxes).to(device)).cpu(), nearest_bev_of_arrays(boxes))


@pytest.mark.parametrize(("column", "value"), [(6, float("nan")), (3, 0.0), (5, -1.0)])
def test_bad_objects_and_thresholds_are_named(column, value, monkeypatch):
    objects = torch.from_numpy(random_boxes(3, 0))
    with pytest.raises(ValueError, match="thresholds must satisfy"):
        assign_tensors(objects, objects, pos_iou_thr=0.3)
    objects[1, column] = value
    with pytest.raises(ValueError, match=r"objects\[1\] has .*; values must be finite and sizes > 0"):
        assign_tensors(objects, objects)
    monkeypatch.setattr("lidar_rank.devices.on_cpu", lambda _: False)
    with pytest.raises(ValueError, match=r"objects: values must be finite and sizes > 0; got \["):
        assign_tensors(objects, objects)
