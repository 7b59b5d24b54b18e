"""Time our operators on a CPU against mmcv's compiled ones, or on a GPU against themselves on a CPU.

    python tools/bench/bench_ops.py [--runs 7] [--threads 1] [--device cuda]

Both take turns on the same tensors within each run. On a CPU the figures are medians of processor time, and mmcv with
its compiled operators is needed. On a GPU they are medians of the time until the GPU is done, and operators that mmcv
has for CPUs alone are left out.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

Call = Callable[[Any], object]
SCAN_POINTS = 18_000
"""Of a KITTI scan, those inside the image."""


def main() -> None:
    """Print one line per problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = str(options.threads)  # read when numba is imported
    os.environ["LIDAR_RANK_OPS"] = "mmcv" if options.device == "cpu" else "own"
    torch.set_num_threads(options.threads)
    (on_gpu if options.device == "cuda" else on_cpu)(options.runs, options.threads)


def on_cpu(runs: int, threads: int) -> None:
    """Ours against mmcv's."""
    import mmcv

    from lidar_rank.mm.ops import OwnOperators

    compiled, own = import_module("mmcv._ext"), OwnOperators()
    print(f"mmcv {mmcv.__version__}, {threads} threads, median of {runs} runs, ms of processor time")
    print(f"{'operator':<24} {'problem':<36} {'mmcv':>8} {'ours':>8}  times faster")
    for operator, problem, call in problems(np.random.default_rng(0)):
        compiled_ms, own_ms = timed([partial(call, compiled), partial(call, own)], runs, time.process_time)
        print(f"{operator:<24} {problem:<36} {compiled_ms:8.2f} {own_ms:8.2f}  {compiled_ms / own_ms:8.1f}")


def on_gpu(runs: int, threads: int) -> None:
    """Ours on a GPU against ours on a CPU."""
    from lidar_rank.mm.ops import OwnOperators

    own = OwnOperators()
    print(f"{torch.cuda.get_device_name()}, {threads} CPU threads, median of {runs} runs, ms")
    print(f"{'operator':<24} {'problem':<36} {'CPU':>8} {'GPU':>8}  times faster")
    cpu_problems = problems(np.random.default_rng(0))
    with torch.device("cuda"):
        gpu_problems = list(problems(np.random.default_rng(0)))
    for (operator, problem, call), (_, _, call_on_gpu) in zip(cpu_problems, gpu_problems, strict=True):
        if operator.endswith("_cpu"):
            continue
        cpu_ms, gpu_ms = timed([partial(call, own), partial(until_done, call_on_gpu, own)], runs, time.perf_counter)
        print(f"{operator:<24} {problem:<36} {cpu_ms:8.2f} {gpu_ms:8.2f}  {cpu_ms / gpu_ms:8.1f}")


def until_done(call: Call, ext: Any) -> None:
    """Call an operator and wait for the GPU. Tensors that the call makes are on the GPU as well."""
    with torch.device("cuda"):
        call(ext)
    torch.cuda.synchronize()


def problems(rng: Generator) -> Iterator[tuple[str, str, Call]]:
    """Operator, problem, and a function that gives the problem to the operator of an extension module."""
    for name, voxel_size, coors_range, max_points, max_voxels in (
        ("SECOND", [0.05, 0.05, 0.1], [0, -40, -3, 70.4, 40, 1], 5, 16000),
        ("SECOND, small", [0.1, 0.1, 0.2], [0, -19.2, -3, 38.4, 19.2, 1], 5, 16000),
        ("PointPillars", [0.16, 0.16, 4], [0, -39.68, -3, 69.12, 39.68, 1], 32, 16000),
    ):
        yield "hard_voxelize", name, hard_voxelize(scan(rng), voxel_size, coors_range, max_points, max_voxels)
        yield "dynamic_voxelize", name, dynamic_voxelize(scan(rng), voxel_size, coors_range)
    for num in (100, 1000, 4096):
        yield "nms_rotated", f"{num} cars", nms_rotated(cars(rng, num), rng.random(num))
    yield "box_iou_rotated", "1000 x 200 cars", box_iou_rotated(cars(rng, 1000), cars(rng, 200))
    for num in (1000, 4000):
        yield "nms", f"{num} boxes", nms(rng, num)
    yield "points_in_boxes_cpu", f"20 cars, {SCAN_POINTS} points", points_in_boxes(cars(rng, 20), scan(rng))
    forward, backward = roi_align(rng)
    yield "roi_align_forward", "128 regions, 256 channels", forward
    yield "roi_align_backward", "128 regions, 256 channels", backward


def scan(rng: Generator) -> Tensor:
    """Points in front of the sensor, x, y, z, reflectivity, most of them near."""
    azimuth, range_m = rng.uniform(-0.7, 0.7, SCAN_POINTS), np.minimum(3 + rng.exponential(15, SCAN_POINTS), 75)
    height_m = rng.normal(-1.5, 0.4, SCAN_POINTS)
    columns = [range_m * np.cos(azimuth), range_m * np.sin(azimuth), height_m, rng.random(SCAN_POINTS)]
    return tensor(np.column_stack(columns))


def cars(rng: Generator, num: int, reach_m: float = 70.0) -> Tensor:
    """(x, y, length, width, yaw)."""
    center_m = np.column_stack([rng.uniform(0, reach_m, num), rng.uniform(-reach_m / 2, reach_m / 2, num)])
    size_m = rng.normal([3.9, 1.6], [0.4, 0.1], (num, 2))
    return tensor(np.column_stack([center_m, size_m, rng.uniform(-np.pi, np.pi, num)]))


def tensor(array: np.ndarray) -> Tensor:
    """The numbers in float32, on the default device."""
    return torch.from_numpy(array.astype(np.float32)).to(torch.get_default_device())


def hard_voxelize(points: Tensor, voxel_size: list, coors_range: list, max_points: int, max_voxels: int) -> Call:
    """Voxelisation as the configs do it."""
    size, bounds = torch.tensor(voxel_size), torch.tensor(coors_range, dtype=torch.float)
    voxels = points.new_zeros(max_voxels, max_points, points.shape[1])
    coors, num_points = torch.zeros(max_voxels, 3, dtype=torch.int), torch.zeros(max_voxels, dtype=torch.int)
    num_voxels = torch.zeros((), dtype=torch.long)
    written = voxels, coors, num_points, num_voxels

    def call(ext: Any) -> None:
        num_points.zero_()
        ext.hard_voxelize_forward(points, size, bounds, *written, max_points, max_voxels, NDim=3, deterministic=True)

    return call


def dynamic_voxelize(points: Tensor, voxel_size: list, coors_range: list) -> Call:
    """The voxel of each point."""
    size, bounds = torch.tensor(voxel_size), torch.tensor(coors_range, dtype=torch.float)
    coors = torch.zeros(len(points), 3, dtype=torch.int)
    return lambda ext: ext.dynamic_voxelize_forward(points, size, bounds, coors, NDim=3)


def nms_rotated(dets: Tensor, scores: np.ndarray) -> Call:
    """NMS at the threshold of SECOND's config."""
    scores = tensor(scores)
    order = scores.sort(0, descending=True)[1]
    return lambda ext: ext.nms_rotated(dets, scores, order, dets[order], torch.empty(0, dtype=torch.int), 0.01, 0)


def box_iou_rotated(a: Tensor, b: Tensor) -> Call:
    """Overlaps of all pairs."""
    ious = torch.zeros(len(a) * len(b))
    return lambda ext: ext.box_iou_rotated(a, b, ious, mode_flag=0, aligned=False)


def nms(rng: Generator, num: int) -> Call:
    """NMS of boxes of an image at the threshold of a region proposal network."""
    low = rng.uniform(0, 800, (num, 2))
    boxes, scores = tensor(np.column_stack([low, low + rng.uniform(10, 200, (num, 2))])), tensor(rng.random(num))
    return lambda ext: ext.nms(boxes, scores, iou_threshold=0.7, offset=0)


def points_in_boxes(rectangles: Tensor, points: Tensor) -> Call:
    """Points in cars that stand on the ground."""
    ground, height = torch.full((len(rectangles), 1), -1.7), torch.full((len(rectangles), 1), 1.5)
    boxes = torch.cat([rectangles[:, :2], ground, rectangles[:, 2:4], height, rectangles[:, 4:]], dim=1)
    xyz, inside = points[:, :3].contiguous(), torch.zeros(len(boxes), len(points), dtype=torch.int)
    return lambda ext: ext.points_in_boxes_cpu_forward(boxes, xyz, inside)


def roi_align(rng: Generator) -> tuple[Call, Call]:
    """Forward and backward of 7 x 7 bins, as in Faster R-CNN."""
    features, low = tensor(rng.normal(size=(2, 256, 50, 84))), rng.uniform(0, 500, (128, 2))
    rois = tensor(np.column_stack([rng.integers(0, 2, 128), low, low + rng.uniform(20, 110, (128, 2))]))
    pooled, nothing = tensor(rng.normal(size=(128, 256, 7, 7))), torch.empty(0)
    settings = (7, 7, 0.125, 0, 1, True)
    return (
        lambda ext: ext.roi_align_forward(features, rois, torch.zeros_like(pooled), nothing, nothing, *settings),
        lambda ext: ext.roi_align_backward(pooled, rois, nothing, nothing, torch.zeros_like(features), *settings),
    )


def timed(calls: Sequence[Callable[[], None]], runs: int, clock: Callable[[], float]) -> list[float]:
    """Median time of each call in milliseconds; they take turns after one run to warm up."""
    times: list[list[float]] = [[] for _ in calls]
    for run in range(runs + 1):
        for call, of_call in zip(calls, times, strict=True):
            start = clock()
            call()
            if run > 0:
                of_call.append(1e3 * (clock() - start))
    return [median(of_call) for of_call in times]


if __name__ == "__main__":
    main()
