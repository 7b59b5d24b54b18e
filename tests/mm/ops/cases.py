"""Problems for mmcv's operators, the hard ones first, and the one way in which tests and the recorder call them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from numpy.random import Generator, default_rng
from torch import Tensor


@dataclass
class Case:
    """One call of one operator."""

    operator: str
    name: str
    arrays: dict[str, ndarray]
    settings: dict[str, Any] = field(default_factory=dict)


def call(ext: Any, case: Case, device: str = "cpu") -> dict[str, ndarray]:
    """Call an operator of ``ext``, mmcv's extension module or ours, as mmcv's Python code does."""
    tensors = {name: torch.from_numpy(array).to(device) for name, array in case.arrays.items()}
    answers = globals()[f"_call_{case.operator}"](ext, **tensors, **case.settings)
    return {name: answer.cpu().numpy() for name, answer in answers.items()}


def _call_hard_voxelize(
    ext: Any, points: Tensor, voxel_size: Tensor, coors_range: Tensor, max_points: int, max_voxels: int
) -> dict[str, Tensor]:
    voxels = points.new_zeros(max_voxels, max_points, points.shape[1])
    coors = points.new_zeros((max_voxels, 3), dtype=torch.int)
    num_points = points.new_zeros(max_voxels, dtype=torch.int)
    num_voxels = torch.zeros((), dtype=torch.long)
    ext.hard_voxelize_forward(
        points,
        voxel_size.cpu(),
        coors_range.cpu(),
        voxels,
        coors,
        num_points,
        num_voxels,
        max_points=max_points,
        max_voxels=max_voxels,
        NDim=3,
        deterministic=True,
    )
    return {"voxels": voxels, "coors": coors, "num_points": num_points, "num_voxels": num_voxels}


def _call_dynamic_voxelize(ext: Any, points: Tensor, voxel_size: Tensor, coors_range: Tensor) -> dict[str, Tensor]:
    coors = points.new_zeros((len(points), 3), dtype=torch.int)
    ext.dynamic_voxelize_forward(points, voxel_size.cpu(), coors_range.cpu(), coors, NDim=3)
    return {"coors": coors}


def _call_nms(ext: Any, boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> dict[str, Tensor]:
    return {"kept": ext.nms(boxes, scores, iou_threshold=iou_threshold, offset=offset)}


def _call_nms_rotated(ext: Any, dets: Tensor, scores: Tensor, iou_threshold: float) -> dict[str, Tensor]:
    order = scores.sort(descending=True, stable=scores.is_cuda)[1]  # up to 16 ties: as on the CPU
    labels = scores.new_empty(0, dtype=torch.int)
    return {"kept": ext.nms_rotated(dets, scores, order, dets[order], labels, iou_threshold, dets.shape[1] == 6)}


def _call_box_iou_rotated(ext: Any, boxes1: Tensor, boxes2: Tensor, mode_flag: int, aligned: bool) -> dict[str, Tensor]:
    ious = boxes1.new_zeros(len(boxes1) if aligned else len(boxes1) * len(boxes2))
    ext.box_iou_rotated(boxes1, boxes2, ious, mode_flag=mode_flag, aligned=aligned)
    return {"ious": ious}


def _call_points_in_boxes_cpu(ext: Any, boxes: Tensor, points: Tensor) -> dict[str, Tensor]:
    inside = points.new_zeros((len(boxes), len(points)), dtype=torch.int)
    ext.points_in_boxes_cpu_forward(boxes, points, inside)
    return {"inside": inside}


def _call_roi_align(
    ext: Any, features: Tensor, rois: Tensor, grad_output: Tensor, pool_mode: int, **settings: Any
) -> dict[str, Tensor]:
    """Forward and backward."""
    output = torch.zeros_like(grad_output)
    argmax_y, argmax_x = (torch.zeros_like(output) if pool_mode == 0 else output.new_zeros(0) for _ in range(2))
    settings = {
        "aligned_height": output.shape[2],
        "aligned_width": output.shape[3],
        "pool_mode": pool_mode,
        **settings,
    }
    ext.roi_align_forward(features, rois, output, argmax_y, argmax_x, **settings)
    grad_features = torch.zeros_like(features)
    ext.roi_align_backward(grad_output, rois, argmax_y, argmax_x, grad_features, **settings)
    return {"output": output, "argmax_y": argmax_y, "argmax_x": argmax_x, "grad_features": grad_features}


def all_cases(seed: int) -> Iterator[Case]:
    """Every case; those with random numbers differ from seed to seed."""
    rng = default_rng(seed)
    for make in (_voxelize, _nms, _nms_rotated, _box_iou_rotated, _points_in_boxes, _roi_align):
        yield from make(rng)


CAR_RANGE_M = [0, -4, -3, 8, 4, 1]


def _voxelize(rng: Generator) -> Iterator[Case]:
    low, high = np.array(CAR_RANGE_M[:3]), np.array(CAR_RANGE_M[3:])
    scan = np.column_stack([rng.normal([4, 0, -1.5], [2, 2, 0.4], (150, 3)), rng.random(150)])
    steps = np.arange(-1, 42) * 0.1
    edges = np.column_stack([low + steps[:, None], steps * 0])
    above = np.concatenate([np.nextafter(edges.astype("f"), -np.inf, dtype="f"), np.array([[*high, 0]])])
    odd = np.array([[np.nan, 0, 0, 1], [1, np.inf, 0, 1], [1, -np.inf, 0, 1], [1e30, 0, 0, 1], [1, 1, -1, np.nan]])
    below_zero = scan[:60] * [-1, 1, -1, 1] - [0.05, 0.05, 0.05, 0]
    clouds = {
        "scan": (scan, [0.2, 0.2, 0.4], CAR_RANGE_M),
        "pillars": (scan, [0.5, 0.5, 4], CAR_RANGE_M),
        "no points": (scan[:0], [0.2, 0.2, 0.4], CAR_RANGE_M),
        "one point": (scan[:1], [0.2, 0.2, 0.4], CAR_RANGE_M),
        "all outside": (scan + 100, [0.2, 0.2, 0.4], CAR_RANGE_M),
        "on edges": (edges, [0.1, 0.1, 0.1], CAR_RANGE_M),
        "below edges": (above, [0.1, 0.1, 0.1], CAR_RANGE_M),
        "not finite": (np.concatenate([odd, scan[:9]]), [0.2, 0.2, 0.4], CAR_RANGE_M),
        "below zero": (below_zero, [0.3, 0.3, 0.3], [-9, -3, 0, 0.05, 2.9, 3]),
        "range no multiple": (scan, [0.7, 0.9, 0.55], CAR_RANGE_M),
        "half a voxel over": (scan, [1.6, 0.32, 0.32], CAR_RANGE_M),  # 8 / 1.6 = 5, 8 / 0.32 = 25, 4 / 0.32 = 12.5
        "three columns": (scan[:40, :3], [0.2, 0.2, 0.4], CAR_RANGE_M),
        "seven columns": (rng.normal(0, 2, (40, 7)), [0.5, 0.5, 0.5], CAR_RANGE_M),
    }
    for name, (points, voxel_size, coors_range) in clouds.items():
        for dtype in ("float32",) if name in ("pillars", "three columns") else ("float32", "float64", "float16"):
            with np.errstate(over="ignore"):
                arrays = {
                    "points": points.astype(dtype),
                    "voxel_size": np.array(voxel_size, "f"),
                    "coors_range": np.array(coors_range, "f"),
                }
            if dtype == "float32" or name in ("scan", "on edges", "not finite"):
                yield Case("dynamic_voxelize", f"{name} {dtype}", arrays)
                yield Case("hard_voxelize", f"{name} {dtype}", arrays, {"max_points": 3, "max_voxels": 60})
    for max_points, max_voxels in ((1, 100), (2, 10), (35, 1), (5, 0)):
        settings = {"max_points": max_points, "max_voxels": max_voxels}
        arrays = {
            "points": scan.astype("f"),
            "voxel_size": np.array([1, 1, 1], "f"),
            "coors_range": np.array(CAR_RANGE_M, "f"),
        }
        yield Case("hard_voxelize", f"{max_points} points {max_voxels} voxels", arrays, settings)


def _nms(rng: Generator) -> Iterator[Case]:
    center, size = rng.uniform(0, 60, (60, 2)), rng.uniform(5, 30, (60, 2))
    crowd = np.column_stack([center, center + size])
    unit = np.array([[0.0, 0, 1, 1]])
    side_by_side = np.array([[0.0, 0, 2, 2], [2, 0, 4, 2], [0, 2, 2, 4], [1, 0, 3, 2], [2, 2, 4, 4]])
    odd = np.array([[np.nan, 0, 1, 1], [0, 0, np.inf, 1], [-np.inf, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, np.nan]])
    boxes = {
        "crowd": crowd,
        "classes apart": crowd + rng.integers(0, 3, (60, 1)) * 1000.5,
        "no box": crowd[:0],
        "one box": crowd[:1],
        "identical": unit.repeat(7, 0),
        "touching": side_by_side,
        "inside each other": unit * np.arange(1, 9)[:, None],
        "no size": np.array([[1.0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 2, 2], [0, 1, 2, 1], [0, 1, 2, 1]]),
        "turned round": np.concatenate([side_by_side[:, [2, 3, 0, 1]], side_by_side]),
        "below zero": crowd[:16] - 40,
        "not finite": np.concatenate([odd, side_by_side]),
    }
    for name, corners in boxes.items():
        scores = rng.permutation(len(corners)) / max(len(corners), 1)
        # Beyond 16 equal scores their order is up to the vector instructions that Tensor.sort finds.
        ties = (scores * 3).round() / 3 if len(corners) <= 16 else scores
        for iou_threshold in (0.0, 1 / 3, 0.5, 1.0):
            for offset in (0, 1):
                arrays = {"boxes": corners.astype("f"), "scores": ties.astype("f")}
                settings = {"iou_threshold": iou_threshold, "offset": offset}
                yield Case("nms", f"{name} {iou_threshold:.2f} {offset}", arrays, settings)
    for name, scores in (
        ("NaN scores", [0.5, np.nan, 0.7, np.nan, 0.1]),
        ("infinite scores", [np.inf, -np.inf, 0, 1, 2]),
    ):
        arrays = {"boxes": side_by_side.astype("f"), "scores": np.array(scores, "f")}
        yield Case("nms", name, arrays, {"iou_threshold": 0.3, "offset": 0})


def _rectangles(rng: Generator) -> dict[str, ndarray]:
    """(x, y, length, width, yaw)."""
    street = np.column_stack(
        [
            rng.uniform([0, -6], [24, 6], (40, 2)),
            rng.normal([3.9, 1.6], [0.4, 0.1], (40, 2)),
            rng.uniform(-np.pi, np.pi, 40),
        ]
    )
    unit = np.array([[0.0, 0, 2, 1, 0]])
    shifts = np.array([[0.0, 0, 0, 0, 0], [2, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 0, 0, 0, 0], [2, 1, 0, 0, 0]])
    odd = np.array(
        [[np.nan, 0, 2, 1, 0], [0, 0, np.nan, 1, 0], [0, 0, 2, 1, np.nan], [0, 0, np.inf, 1, 0], [np.inf, 0, 2, 1, 0]]
    )
    return {
        "street": street,
        "far away": street[:12] + np.array([1000, -2000, 0, 0, 0]),
        "none": street[:0],
        "one": street[:1],
        "identical": street[:1].repeat(5, 0),
        "identical upright": unit.repeat(5, 0),
        "touching": unit + shifts,
        "quarter turns": unit + np.arange(-4, 5)[:, None] * [0, 0, 0, 0, np.pi / 2],
        "same centre": unit + np.arange(9)[:, None] * [0, 0, 0, 0, np.pi / 9],
        "inside each other": unit * np.array([1, 1, 0.5, 0.5, 1]) + np.arange(5)[:, None] * [0, 0, 0.5, 0.5, 0],
        "no size": np.array(
            [[0.0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 2, 0, 1], [0, 0, 2, 1, 0], [0, 0, 1e-8, 1e-8, 0]]
        ),
        "negative size": np.array([[0.0, 0, -2, -1, 0.3], [0, 0, 2, 1, 0.3], [0, 0, -2, 1, 0.3], [0, 0, 2, -1, 0.3]]),
        "not finite": np.concatenate([odd, unit, unit]),
    }


def _nms_rotated(rng: Generator) -> Iterator[Case]:
    for name, dets in _rectangles(rng).items():
        scores = rng.permutation(len(dets)) / max(len(dets), 1)
        ties = (scores * 3).round() / 3 if len(dets) <= 16 else scores
        for iou_threshold in (0.0, 0.01, 0.1, 0.5) if name != "not finite" else (0.01, 0.5):
            for dtype in ("float32", "float64"):
                arrays = {"dets": dets.astype(dtype), "scores": ties.astype(dtype)}
                yield Case("nms_rotated", f"{name} {iou_threshold} {dtype}", arrays, {"iou_threshold": iou_threshold})
    street = _rectangles(rng)["street"]
    with_labels = np.column_stack([street, rng.integers(0, 3, len(street))])
    arrays = {"dets": with_labels.astype("f"), "scores": rng.random(len(street)).astype("f")}
    yield Case("nms_rotated", "with labels", arrays, {"iou_threshold": 0.1})


def _box_iou_rotated(rng: Generator) -> Iterator[Case]:
    for name, boxes in _rectangles(rng).items():
        for mode_flag in (0, 1):
            for aligned in (False, True):
                others = boxes[::-1] if aligned else boxes[::2]
                arrays = {"boxes1": boxes.astype("f"), "boxes2": np.ascontiguousarray(others, "f")}
                settings = {"mode_flag": mode_flag, "aligned": aligned}
                yield Case("box_iou_rotated", f"{name} {mode_flag} {aligned}", arrays, settings)


def _points_in_boxes(rng: Generator) -> Iterator[Case]:
    boxes = np.column_stack([rng.normal(0, 2, (6, 3)), rng.uniform(1, 5, (6, 3)), rng.uniform(-7, 7, 6)])
    points = rng.normal([0, 0, 1], 2, (80, 3))
    cube = np.array([[0.0, 0, 0, 2, 2, 2, 0], [0, 0, 0, 2, 2, 0, 0], [0, 0, 0, 0, 2, 2, 0], [0, 0, 0, -2, 2, 2, 0]])
    faces = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], [-1, 0, 1, 2]), -1).reshape(-1, 3).astype(float)
    odd = np.array([[np.nan, 0, 0], [0, np.nan, 1], [0, 0, np.nan], [np.inf, 0, 1], [0, 0, -np.inf], [0, 0, 1]])
    odd_boxes = np.where(np.eye(7, dtype=bool), np.nan, cube[:1])
    problems = {
        "random": (boxes, points),
        "far away": (boxes + np.eye(7)[0] * 1000, points + np.array([1000, 0, 0])),
        "on faces": (cube, faces),
        "quarter turn": (cube + np.eye(7)[6] * np.pi / 2, faces),
        "no box": (boxes[:0], points),
        "no point": (boxes, points[:0]),
        "point not finite": (cube, odd),
        "box not finite": (odd_boxes, faces),
    }
    for name, (upright, xyz) in problems.items():
        yield Case("points_in_boxes_cpu", name, {"boxes": upright.astype("f"), "points": xyz.astype("f")})


def _roi_align(rng: Generator) -> Iterator[Case]:
    features = rng.normal(size=(2, 3, 9, 12))
    rois = {
        "inside": [[0, 3, 4, 30, 25], [1, 8.5, 2.25, 40, 30], [0, 0, 0, 47, 35]],
        "over the border": [[0, -20, -10, 20, 30], [1, 30, 20, 90, 80], [1, -50, -50, 100, 100]],
        "outside": [[0, 100, 100, 140, 140], [1, -90, -90, -60, -50], [0, 48, 36, 60, 60], [1, -4, -4, 0, 0]],
        "no size": [[0, 10, 10, 10, 10], [1, 10, 4, 10, 30], [0, 4, 30, 40, 30], [0, 0, 0, 0, 0]],
        "small": [[0, 10, 10, 10.5, 10.5], [1, 46, 34, 49, 37], [1, -0.5, -0.5, 0.5, 0.5]],
        "none": np.zeros((0, 5)),
    }
    for name, regions in rois.items():
        regions = np.array(regions, float)
        for index, (aligned, sampling_ratio, pool_mode) in enumerate(
            (aligned, sampling_ratio, pool_mode)
            for aligned in (True, False)
            for sampling_ratio in (0, 1, 2)
            for pool_mode in (1, 0)
        ):
            settings = {
                "spatial_scale": 0.25 if index % 3 else 0.3,
                "sampling_ratio": sampling_ratio,
                "pool_mode": pool_mode,
                "aligned": aligned,
            }
            bins = ((2, 2), (3, 2), (1, 4))[index % 3]
            dtype = "float64" if index % 6 == 5 else "float32"
            grad_output = rng.normal(size=(len(regions), features.shape[1], *bins))
            arrays = {"features": features, "rois": regions, "grad_output": grad_output}
            arrays = {key: array.astype(dtype) for key, array in arrays.items()}
            text = " ".join(str(value) for value in settings.values())
            yield Case("roi_align", f"{name} {text} {bins} {dtype}", arrays, settings)
    one_pixel = {"features": features[:, :1, :1, :1], "rois": np.array([[0, 0, 0, 2, 2], [1, -1, -1, 1, 1.0]])}
    low = {"features": features * 0 - 20000, "rois": np.array(rois["over the border"], float)}
    half = {"features": (features * 64).round() / 64, "rois": np.array(rois["inside"], float).round()}
    settings = {"spatial_scale": 0.25, "sampling_ratio": 2, "aligned": True}
    for name, problem, pool_mode, dtype in (
        ("one pixel", one_pixel, 1, "float32"),
        ("all below the start of the search", low, 0, "float32"),
        ("half precision", half, 1, "float16"),
        ("half precision", half, 0, "float16"),
    ):
        grad_output = rng.normal(size=(len(problem["rois"]), problem["features"].shape[1], 2, 2))
        arrays = {key: array.astype(dtype) for key, array in {**problem, "grad_output": grad_output}.items()}
        yield Case("roi_align", f"{name} {pool_mode}", arrays, {**settings, "pool_mode": pool_mode})
