"""Time rotated IoU and NMS on a CPU, against mmcv's operators on the same boxes.

    python tools/bench/bench_rotated_iou.py [--runs 7] [--threads 2]

Both functions take turns within each run, and the figures are medians. Needs mmcv with its CPU operators.
"""

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy import ndarray


def main() -> None:
    """Print one line per problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = str(options.threads)  # read when numba is imported

    import torch
    from mmcv.ops import box_iou_rotated, nms_rotated

    from lidar_rank.geometry import nms_bev, pairwise_iou_bev

    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    print(f"{options.threads} threads, median of {options.runs} runs")
    for name, num_a, num_b, reach_m in (("cars of a scan", 2000, 500, 70.0), ("all overlapping", 1000, 1000, 1.5)):
        a, b = cars(rng, num_a, reach_m), cars(rng, num_b, reach_m)
        tensors = torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)
        ours_s, theirs_s = timed(
            lambda a=a, b=b: pairwise_iou_bev(a, b), lambda tensors=tensors: box_iou_rotated(*tensors), options.runs
        )
        overlapping = (pairwise_iou_bev(a, b) > 0).mean()
        report(f"IoU, {name}, {num_a} x {num_b}, {overlapping:.1%} overlap", ours_s, theirs_s)
    boxes, scores = cars(rng, 4096, 70.0), rng.random(4096)
    tensors = torch.tensor(boxes, dtype=torch.float32), torch.tensor(scores, dtype=torch.float32)
    ours_s, theirs_s = timed(lambda: nms_bev(boxes, scores, 0.1), lambda: nms_rotated(*tensors, 0.1), options.runs)
    report("NMS, 4096 boxes", ours_s, theirs_s)


def cars(rng: np.random.Generator, num: int, reach_m: float) -> ndarray:
    """Boxes (x, y, length, width, yaw) of cars in front of the sensor."""
    center_m = np.column_stack([rng.uniform(0, reach_m, num), rng.uniform(-reach_m / 2, reach_m / 2, num)])
    size_m = rng.normal([3.9, 1.6], [0.4, 0.1], (num, 2))
    return np.column_stack([center_m, size_m, rng.uniform(-np.pi, np.pi, num)])


def timed(ours: Callable[[], Any], theirs: Callable[[], Any], runs: int) -> tuple[float, float]:
    """Median time of each call in seconds. The calls take turns, after one warm-up call each."""
    ours()
    theirs()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for call, of_call in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            call()
            of_call.append(time.perf_counter() - start)
    return median(times[0]), median(times[1])


def report(name: str, ours_s: float, theirs_s: float) -> None:
    """Print one line of the table."""
    print(f"{name:<48} {1e3 * ours_s:7.1f} ms, mmcv {1e3 * theirs_s:7.1f} ms: {theirs_s / ours_s:.0f} times faster")


if __name__ == "__main__":
    main()
