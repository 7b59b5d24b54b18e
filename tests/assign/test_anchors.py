"""Anchor assignment against brute force, hand-made scenes and mmdet3d's own assigner."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidar_rank.assign import AnchorIndex, assign_anchors
from lidar_rank.kitti.calibration import read_calibration
from tests.oracles import assign as oracle

OVERLAPS = ["nearest_bev", "rotated_bev", "3d"]
CAR = {"pos_iou_thr": 0.6, "neg_iou_thr": 0.45, "min_pos_iou": 0.45}
PEDESTRIAN = {"pos_iou_thr": 0.35, "neg_iou_thr": 0.2, "min_pos_iou": 0.2}


def grid_anchors(x_m, y_m, size_m=(3.9, 1.6, 1.56), z_m=-1.78):
    y, x, yaw = np.meshgrid(y_m, x_m, [0, 1.57], indexing="ij")
    columns = np.broadcast_arrays(x, y, z_m, *size_m, yaw)
    return np.stack(columns, -1).reshape(-1, 7).astype(np.float32)


def random_boxes(count, seed, extent_m=12.0):
    rng = np.random.default_rng(seed)
    centre = np.column_stack([rng.uniform(0, extent_m, (count, 2)), rng.uniform(-2.2, -1.4, count)])
    sizes = rng.normal([3.9, 1.6, 1.56], [0.4, 0.15, 0.1], (count, 3))
    return np.column_stack([centre, sizes, rng.uniform(-7, 7, count)]).astype(np.float32)


def assert_equals_oracle(anchors, objects, classes, overlap, options):
    iou = oracle.overlaps(objects.astype(np.float64), anchors.astype(np.float64), overlap)
    labels, matched = oracle.assign(iou, classes, num_classes=3, **options)
    result = assign_anchors(AnchorIndex(anchors, overlap), objects, classes, num_classes=3, **options)
    np.testing.assert_array_equal(result.labels, labels)
    np.testing.assert_array_equal(result.matched, matched)
    np.testing.assert_allclose(result.overlap, iou.max(0, initial=0.0), atol=2e-6)
    return result


@pytest.mark.parametrize("all_ties", [True, False])
@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("layout", ["grid", "random"])
def test_equals_brute_force_on_random_scenes(layout, overlap, all_ties):
    seen = set()
    for seed in range(6):
        grid = grid_anchors(np.linspace(0, 12, 16), np.linspace(0, 12, 16))
        anchors = grid if layout == "grid" else random_boxes(500, seed + 100)
        objects, classes = random_boxes(seed * 3, seed), np.arange(seed * 3) % 3
        options = {**PEDESTRIAN, "gt_max_assign_all": all_ties}
        result = assert_equals_oracle(anchors, objects, classes, overlap, options)
        seen.update(result.labels.tolist())
    assert seen == {-1, 0, 1, 2, 3}


# Eighths are exact in float32: equal overlaps are equal to the last bit on both sides.
eighths = st.integers(0, 32).map(lambda k: k / 8)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(eighths, eighths, st.sampled_from([0.0, math.pi / 2, math.pi])), max_size=5),
    st.sampled_from([0.375, 0.5, 1.0]),
    st.sampled_from([(0.5, 0.5, 0.0), (0.6, 0.45, 0.45), (0.5, 0.25, 0.25), (1.0, 0.125, 2.0)]),
    st.booleans(),
)
def test_equals_brute_force_on_ties(poses, pitch, thresholds, all_ties):
    """Objects between anchors, on anchors, on each other: most best overlaps are shared."""
    lines = np.arange(0, 4.1, pitch)
    anchors = grid_anchors(lines, lines, size_m=(2.0, 1.0, 1.0), z_m=0.0)
    objects = np.array([(x, y, 0, 2, 1, 1, yaw) for x, y, yaw in poses], np.float32).reshape(-1, 7)
    options = dict(zip(CAR, thresholds, strict=True))
    classes = np.arange(len(objects)) % 3
    assert_equals_oracle(anchors, objects, classes, "nearest_bev", {**options, "gt_max_assign_all": all_ties})


def test_rules_on_a_scene_done_by_hand():
    """Anchors of 4 m x 1 m on one line; an overlap of (4 - d) / (4 + d) at distance d."""
    anchors = np.array([[x, 0, 0, 4, 1, 1, 0] for x in (0.0, 1.0, 1.25, 1.75, 9.0, 11.0, 13.0, 30.0)])
    objects = np.array([[x, 0, 0, 4, 1, 1, 0] for x in (0.0, 11.0, 11.5, 33.5)])
    result = assign_anchors(AnchorIndex(anchors), objects, [0, 1, 2, 0], num_classes=3, **CAR)
    # d = 0, 1 (0.6), 1.25 (0.52), 1.75 (0.39); d = 2 (0.33), 0, 1.5 (0.45...) and for the third object 0.5 (0.78).
    # The third object's best anchor is the second's too, and the later one takes it. 30 m: d = 3.5 (0.07) < 0.45.
    np.testing.assert_array_equal(result.labels, [0, 0, -1, 3, 3, 2, -1, 3])
    np.testing.assert_array_equal(result.matched, [0, 0, -1, -1, -1, 2, -1, -1])
    expected = [1, 3 / 5, 2.75 / 5.25, 2.25 / 5.75, 2 / 6, 1, 2.5 / 5.5, 0.5 / 7.5]
    np.testing.assert_allclose(result.overlap, expected, rtol=1e-6)


def test_of_equal_best_anchors_the_first_row_or_all_are_taken():
    anchors = AnchorIndex([[x, 0, 0, 0.5, 0.25, 1, 0] for x in (5.0, 0.1875, -0.1875, 9.0)])
    small = [[0, 0, 0, 0.5, 0.25, 1, 0]]
    first, every = (
        assign_anchors(anchors, small, [0], num_classes=1, gt_max_assign_all=all_ties) for all_ties in (False, True)
    )
    assert first.labels.tolist() == [1, 0, -1, 1]
    assert every.labels.tolist() == [1, 0, 0, 1]
    np.testing.assert_allclose(first.overlap, [0, 5 / 11, 5 / 11, 0], rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.45, 0.7, 0.6, 0.35])
def test_an_overlap_that_equals_a_threshold_reaches_it(threshold):
    """Also where float32 puts both below the decimal number, as it does 0.45 and 0.7."""
    anchor = AnchorIndex([[0, 0, 0, 20, 1, 1, 0]])
    inside = [[0, 0, 0, round(20 * threshold), 1, 1, 0]]
    matches = {
        "pos": assign_anchors(
            anchor, inside, [0], num_classes=1, pos_iou_thr=threshold, neg_iou_thr=0.1, min_pos_iou=2
        ),
        "neg": assign_anchors(
            anchor, inside, [0], num_classes=1, pos_iou_thr=0.9, neg_iou_thr=threshold, min_pos_iou=2
        ),
        "min": assign_anchors(
            anchor, inside, [0], num_classes=1, pos_iou_thr=0.9, neg_iou_thr=0.9, min_pos_iou=threshold
        ),
    }
    assert {name: match.labels.item() for name, match in matches.items()} == {"pos": 0, "neg": -1, "min": 0}


def test_an_object_that_touches_no_anchor_takes_none():
    anchors = np.array([[0, 0, 0, 4, 2, 1, 0], [50, 0, 0, 4, 2, 1, 0]])
    objects = np.array([[20, 0, 0, 4, 2, 1, 0.4], [3.5, 0, 0, 4, 2, 1, 0.0]])
    for overlap in OVERLAPS:
        options = {"pos_iou_thr": 0.7, "neg_iou_thr": 0.7, "min_pos_iou": 0.0}
        result = assign_anchors(AnchorIndex(anchors, overlap), objects, [0, 0], num_classes=1, **options)
        np.testing.assert_array_equal(result.matched, [1, -1])
        np.testing.assert_array_equal(result.labels, [0, 1])


def test_footprints_whose_bounds_overlap_may_not():
    """Two diagonal boxes side by side: their bounding rectangles share area, they do not."""
    anchors = np.array([[0, 0, 0, 4, 1, 1, math.pi / 4]])
    objects = np.array([[1.2, -1.2, 0, 4, 1, 1, math.pi / 4]])
    options = {"pos_iou_thr": 0.6, "neg_iou_thr": 0.45, "min_pos_iou": 0.0}
    for overlap in ("rotated_bev", "3d"):
        result = assign_anchors(AnchorIndex(anchors, overlap), objects, [0], num_classes=1, **options)
        assert result.labels.tolist() == [1]


def test_3d_counts_the_height_and_rotated_bev_does_not():
    anchors = np.array([[0, 0, 0, 4, 2, 2, 0.3]])
    raised = np.array([[0, 0, 1, 4, 2, 2, 0.3]])
    above = np.array([[0, 0, 2, 4, 2, 2, 0.3]])
    overlap = {
        (kind, name): assign_anchors(AnchorIndex(anchors, kind), box, [0], num_classes=1).overlap[0]
        for kind in ("rotated_bev", "3d")
        for name, box in {"raised": raised, "above": above}.items()
    }
    assert overlap["rotated_bev", "raised"] == overlap["rotated_bev", "above"] == 1
    assert overlap["3d", "raised"] == pytest.approx(1 / 3)
    assert overlap["3d", "above"] == 0


def test_proposals_with_the_objects_among_them():
    """SA-SSD's rule: 3D IoU of at least 0.7, objects prepended as proposals, so each object has a positive."""
    objects = random_boxes(8, 0)
    noise = np.random.default_rng(1).normal(0, 0.1, (200, 7)).astype(np.float32)
    proposals = np.concatenate([objects, np.tile(objects, (25, 1)) + noise])
    options = {"pos_iou_thr": 0.7, "neg_iou_thr": 0.7, "min_pos_iou": 0.0, "gt_max_assign_all": True}
    result = assert_equals_oracle(proposals, objects, np.zeros(8, np.int64), "3d", options)
    np.testing.assert_array_equal(result.matched[:8], np.arange(8))
    assert set(result.labels[8:]) == {0, 3}


def test_order_of_the_anchors_does_not_matter():
    anchors, objects = grid_anchors(np.linspace(0, 12, 25), np.linspace(0, 12, 25)), random_boxes(9, 3)
    shuffled = np.random.default_rng(0).permutation(len(anchors))
    for overlap in OVERLAPS:
        straight = assign_anchors(AnchorIndex(anchors, overlap), objects, [0] * 9, num_classes=1)
        mixed = assign_anchors(AnchorIndex(anchors[shuffled], overlap), objects, [0] * 9, num_classes=1)
        for whole, part in zip(straight, mixed, strict=True):
            np.testing.assert_array_equal(whole[shuffled], part)


def test_tensors_and_wider_boxes_give_the_same_and_are_not_changed():
    anchors, objects = grid_anchors(np.linspace(0, 12, 9), np.linspace(0, 12, 9)), random_boxes(4, 4)
    expected = assign_anchors(AnchorIndex(anchors), objects, np.zeros(4, np.int64), num_classes=1)
    wide = [torch.tensor(np.pad(boxes, ((0, 0), (0, 2)), constant_values=7.0)) for boxes in (anchors, objects)]
    before = [boxes.clone() for boxes in wide]
    result = assign_anchors(AnchorIndex(wide[0]), wide[1], torch.zeros(4, dtype=torch.int64), num_classes=1)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_array_equal(got, want)
    assert all(torch.equal(*pair) for pair in zip(wide, before, strict=True))


@pytest.mark.parametrize("all_ties", [True, False])
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_anchors_that_are_not_usable_count_as_if_they_stood_far_away(overlap, all_ties):
    """An object whose best anchor is not usable takes the best one that is."""
    anchors = grid_anchors(np.linspace(0, 12, 25), np.linspace(0, 12, 25))
    index, lost = AnchorIndex(anchors, overlap), 0
    for seed in range(6):
        objects, classes = random_boxes(seed * 3, seed), np.arange(seed * 3) % 3
        usable = np.random.default_rng(seed).random(len(anchors)) < (0.0, 0.1, 0.4, 0.7, 0.95, 1.0)[seed]
        far = anchors.copy()
        far[~usable, 0] += 1e5
        options = {**CAR, "min_pos_iou": 0.0, "gt_max_assign_all": all_ties, "num_classes": 3}
        shifted = assign_anchors(AnchorIndex(far, overlap), objects, classes, **options)
        result = assign_anchors(index, objects, classes, usable=torch.from_numpy(usable), **options)
        np.testing.assert_array_equal(result.labels, np.where(usable, shifted.labels, -1))
        np.testing.assert_array_equal(result.matched, shifted.matched)
        np.testing.assert_array_equal(result.overlap, shifted.overlap)
        everywhere = assign_anchors(index, objects, classes, **options)
        lost += (everywhere.matched[usable] != result.matched[usable]).sum()
    assert lost > 2


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_without_objects_all_is_background(overlap):
    anchors = grid_anchors(np.linspace(0, 12, 5), np.linspace(0, 12, 5))
    result = assign_anchors(AnchorIndex(anchors, overlap), np.zeros((0, 7)), [], num_classes=3)
    assert [part.dtype for part in result] == [np.int64, np.int64, np.float32]
    assert (result.labels == 3).all()
    assert (result.matched == -1).all()
    assert (result.overlap == 0).all()


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("count", [0, 2])
def test_without_anchors_the_result_is_empty(overlap, count):
    index = AnchorIndex(torch.zeros(0, 7), overlap)
    result = assign_anchors(index, random_boxes(count, 0), [0] * count, num_classes=1)
    assert len(index) == 0
    assert [part.shape for part in result] == [(0,), (0,), (0,)]


@pytest.mark.parametrize(("column", "value"), [(0, math.nan), (6, math.inf), (3, 0.0), (4, 0.0), (5, -1.0)])
def test_a_bad_box_is_named(column, value):
    good = random_boxes(4, 5)
    bad = good.copy()
    bad[2, column] = value
    name = ("x", "y", "z_bottom", "length", "width", "height", "yaw")[column]
    complaint = rf"\[2\] has {name} = {value}; values must be finite and sizes > 0"
    with pytest.raises(ValueError, match="objects" + complaint):
        assign_anchors(AnchorIndex(good), bad, [0] * 4, num_classes=1)
    with pytest.raises(ValueError, match="anchors" + complaint):
        AnchorIndex(bad)


def test_other_bad_arguments_are_named():
    boxes = random_boxes(3, 6)
    index = AnchorIndex(boxes)
    with pytest.raises(ValueError, match=r"overlap must be one of \('nearest_bev', .*got 'bev'"):
        AnchorIndex(boxes, "bev")
    with pytest.raises(ValueError, match=r"anchors must have shape \(N, 7\) with columns .*, got \(3, 5\)"):
        AnchorIndex(boxes[:, :5])
    with pytest.raises(ValueError, match="3 objects and 2 labels"):
        assign_anchors(index, boxes, [0, 0], num_classes=1)
    with pytest.raises(ValueError, match=r"object 1 must have a label in 0..1, got 2"):
        assign_anchors(index, boxes, [0, 2, 1], num_classes=2)
    with pytest.raises(ValueError, match=r"object 0 must have a label in 0..1, got -1"):
        assign_anchors(index, boxes, [-1, 0, 1], num_classes=2)
    for mask in ([True, False], [1, 0, 1]):
        with pytest.raises(ValueError, match=r"usable must be 3 booleans, one for each anchor, got .* of shape \("):
            assign_anchors(index, boxes, [0] * 3, num_classes=1, usable=mask)
    for pos, neg in [(0.4, 0.5), (0.5, 0.0)]:
        with pytest.raises(ValueError, match="0 < neg_iou_thr <= pos_iou_thr"):
            assign_anchors(index, boxes, [0] * 3, num_classes=1, pos_iou_thr=pos, neg_iou_thr=neg)


# --- mmdet3d's assigner ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def host():
    """A function that assigns with mmdet3d: labels (num_classes for background), matched objects, overlaps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mmdet3d.models.task_modules import Max3DIoUAssigner
        from mmengine.structures import InstanceData

    def assign(anchors, objects, classes, num_classes, **options):
        calculator = {"type": "mmdet3d.BboxOverlapsNearest3D", "coordinate": "lidar"}
        assigner = Max3DIoUAssigner(iou_calculator=calculator, **options)
        result = assigner.assign(
            InstanceData(priors=torch.tensor(anchors)),
            InstanceData(bboxes_3d=torch.tensor(objects), labels_3d=torch.tensor(classes)),
        )
        labels = torch.where(result.gt_inds == 0, num_classes, result.labels)
        return labels.numpy(), (result.gt_inds - 1).clamp(min=-1).numpy(), result.max_overlaps.numpy()

    return assign


@pytest.fixture(scope="module")
def host_anchors():
    """The 70,400 anchors per class of mmdet3d's KITTI configs, by class."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mmdet3d.models.task_modules import Anchor3DRangeGenerator

    shapes = {
        "Pedestrian": ([0.8, 0.6, 1.73], -0.6),
        "Cyclist": ([1.76, 0.6, 1.73], -0.6),
        "Car": ([3.9, 1.6, 1.56], -1.78),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.meshgrid without its indexing argument
        return {
            name: Anchor3DRangeGenerator([[0, -40.0, z, 70.4, 40.0, z]], [size], rotations=[0, 1.57])
            .grid_anchors([(200, 176)], device="cpu")[0]
            .numpy()
            for name, (size, z) in shapes.items()
        }


def assert_equals_host(host, anchors, index, objects, classes, options):
    expected = host(anchors, objects, classes, num_classes=3, **options)
    result = assign_anchors(index, objects, classes, num_classes=3, **options)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_array_equal(got, want)
    return result


@pytest.mark.mm
def test_equals_the_host_on_random_scenes(host, host_anchors):
    anchors = host_anchors["Car"]
    index = AnchorIndex(anchors)
    seen = set()
    for seed in range(30):
        objects = random_boxes(seed, seed, extent_m=78.0) - np.float32([4, 40, 0, 0, 0, 0, 0])
        options = {**(CAR if seed % 3 else PEDESTRIAN), "gt_max_assign_all": seed % 2 == 0}
        result = assert_equals_host(host, anchors, index, objects, np.arange(seed) % 3, options)
        seen.update(result.labels.tolist())
    assert seen == {-1, 0, 1, 2, 3}


@pytest.mark.mm
def test_equals_the_host_on_ties(host, host_anchors):
    """Objects on anchors, halfway between anchors, and twice in one place."""
    anchors = host_anchors["Car"]
    index = AnchorIndex(anchors)
    rng = np.random.default_rng(0)
    several = 0
    for seed in range(10):
        on = anchors[rng.integers(0, len(anchors), 12)]
        between = (on + anchors[np.minimum(np.flatnonzero((anchors == on[0]).all(1))[0] + 2, len(anchors) - 1)]) / 2
        neighbour = on + np.float32([0.2011, 0.2010, 0, 0, 0, 0, 0])
        objects = np.concatenate([on, on[:3], between[:1], neighbour])
        objects[:, 6] += np.pi * rng.integers(-3, 3, len(objects))
        options = {**CAR, "gt_max_assign_all": seed % 2 == 0}
        result = assert_equals_host(host, anchors, index, objects, np.zeros(len(objects), np.int64), options)
        several += (np.bincount(result.matched[result.matched >= 0]) > 1).sum()
    assert several > 20


@pytest.mark.mm
def test_equals_the_host_on_boxes_below_its_smallest_union(host):
    boxes = random_boxes(50, 7)
    boxes[:, :3] *= 1e-5
    boxes[:, 3:6] *= np.geomspace(1e-6, 1e-2, 50, dtype=np.float32)[:, None]
    result = assert_equals_host(host, boxes, AnchorIndex(boxes), boxes[::2], np.arange(25) % 3, CAR)
    assert result.overlap[0] < 0.1
    assert result.overlap[48] == 1


@pytest.mark.mm
@pytest.mark.real
def test_equals_the_host_on_all_real_frames(host, host_anchors, kitti_root):
    """Each class of each frame with its own anchors and thresholds, as the 3-class config assigns."""
    indices = {name: AnchorIndex(anchors) for name, anchors in host_anchors.items()}
    frames = objects_seen = 0
    for label_file in sorted((kitti_root / "training" / "label_2").glob("*.txt")):
        if not (kitti_root / "training" / "velodyne" / f"{label_file.stem}.bin").exists():
            continue
        frames += 1
        calibration = read_calibration(kitti_root / "training" / "calib" / label_file.name)
        rows = [line.split() for line in label_file.read_text().splitlines()]
        for name, anchors in host_anchors.items():
            values = np.array([row[8:15] for row in rows if row[0] == name], np.float64).reshape(-1, 7)
            boxes = calibration.camera_boxes_to_lidar(values[:, 3:6], values[:, :3], values[:, 6]).astype(np.float32)
            objects_seen += len(boxes)
            options = CAR if name == "Car" else PEDESTRIAN
            assert_equals_host(host, anchors, indices[name], boxes, np.full(len(boxes), 1), options)
    assert frames == 83
    assert objects_seen > 300
