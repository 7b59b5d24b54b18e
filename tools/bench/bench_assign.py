"""Time anchor assignment on a CPU, against mmdet3d's Max3DIoUAssigner on the same 70,400 anchors and objects.

The last lines are about SA-SSD, which uses only the anchors on occupied ground: the mask of these anchors, and an
assignment that takes the mask beside one that moves the other anchors away, for which the index is built anew.

    python tools/bench/bench_assign.py [--runs 15] [--threads 2]

Both assigners take turns within each run, and the figures are medians. Needs mmdet3d.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from lidar_rank.assign import AnchorIndex, assign_anchors
from lidar_rank.models.sassd import OccupiedAnchors

CAR = {"pos_iou_thr": 0.6, "neg_iou_thr": 0.45, "min_pos_iou": 0.45}
RANGE_M = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)


def main() -> None:
    """Print one line per number of objects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    from mmdet3d.models.task_modules import Anchor3DRangeGenerator, Max3DIoUAssigner
    from mmengine.structures import InstanceData

    generator = Anchor3DRangeGenerator([[0, -40.0, -1.78, 70.4, 40.0, -1.78]], [[3.9, 1.6, 1.56]])
    anchors = generator.grid_anchors([(200, 176)], device="cpu")[0]
    indices = {overlap: AnchorIndex(anchors, overlap) for overlap in ("nearest_bev", "rotated_bev", "3d")}
    host = Max3DIoUAssigner(iou_calculator={"type": "mmdet3d.BboxOverlapsNearest3D"}, **CAR)
    priors, rng = InstanceData(priors=anchors), np.random.default_rng(0)
    print(f"{len(anchors)} anchors, {options.threads} threads, median of {options.runs} runs")
    for count in (1, 12, 50):
        objects, classes = cars(rng, count), torch.zeros(count, dtype=torch.int64)
        instances = InstanceData(bboxes_3d=objects, labels_3d=classes)
        calls: dict[str, Callable[[], Any]] = {"mmdet3d": lambda i=instances: host.assign(priors, i)}
        for overlap, index in indices.items():
            calls[overlap] = lambda i=index, o=objects, c=classes: assign_anchors(i, o, c, num_classes=1, **CAR)
        times_s = timed(calls, options.runs)
        ratio = times_s["mmdet3d"] / times_s["nearest_bev"]
        print(f"{count:3d} objects: {in_ms(times_s)}; nearest_bev {ratio:.0f} times faster than mmdet3d")
    mask = OccupiedAnchors(anchors, voxel_size_m=(0.05, 0.05, 0.1), point_cloud_range_m=RANGE_M)
    voxels = rng.integers(0, [40, 1600, 1408], (16000, 3))
    print(in_ms(timed({"mask of occupied anchors, 16,000 voxels": lambda: mask(voxels)}, options.runs)))
    usable, objects, classes = torch.from_numpy(mask(voxels[:1000])), cars(rng, 12), torch.zeros(12, dtype=torch.int64)

    def masked() -> Any:
        return assign_anchors(indices["nearest_bev"], objects, classes, num_classes=1, usable=usable, **CAR)

    def moved() -> Any:
        far = anchors.clone()
        far[..., 0] += 1e5 * ~usable.view(anchors.shape[:-1])
        return assign_anchors(AnchorIndex(far), objects, classes, num_classes=1, **CAR)

    times_s = timed(
        {"12 objects with a mask of usable anchors": masked, "with the others moved away": moved}, options.runs
    )
    print(f"{int(usable.sum())} usable anchors: {in_ms(times_s)}")


def cars(rng: np.random.Generator, num: int) -> torch.Tensor:
    """Boxes of cars at random places in the range."""
    centre_m = rng.uniform([0, -40, -2.2], [70, 40, -1.4], (num, 3))
    size_m = rng.normal([3.9, 1.6, 1.56], [0.4, 0.1, 0.1], (num, 3))
    return torch.tensor(np.column_stack([centre_m, size_m, rng.uniform(-np.pi, np.pi, num)]), dtype=torch.float32)


def timed(calls: dict[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    """Median time of each call in seconds. The calls take turns, after one warm-up round."""
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(runs + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if run:
                times_s[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times_s.items()}


def in_ms(times_s: dict[str, float]) -> str:
    """All times in one line."""
    return ", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in times_s.items())


if __name__ == "__main__":
    main()
