"""Time the KITTI evaluation, against mmdet3d's on the same detections.

    python tools/bench/bench_evaluation.py LABEL_DIR RESULT_DIR SPLIT [--runs 5]

Prints the median time of `lidar-rank evaluate` as a whole process, and of the evaluation alone. If mmdet3d is
installed, its evaluator runs too and the ratio is printed. It needs CUDA only for the overlap of rotated boxes, so it
uses lidar_rank's overlap here.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
from numpy import ndarray

from lidar_rank.evaluation import evaluate_kitti
from lidar_rank.geometry import pairwise_iou_bev
from lidar_rank.kitti.labels import KittiObjects, read_frame_ids, read_kitti_labels, read_kitti_results

HOST_IOU_MODULE = "mmdet3d.evaluation.functional.kitti_utils.rotate_iou"


def main() -> None:
    """Time everything and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("label_dir", type=Path)
    parser.add_argument("result_dir", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()

    frame_ids = read_frame_ids(options.split)
    ground_truth = read_kitti_labels(options.label_dir, frame_ids)
    detections = read_kitti_results(options.result_dir, frame_ids)
    program = Path(sys.executable).with_name("lidar-rank")
    command = [program, "evaluate", options.label_dir, options.result_dir, "--split", options.split]
    process_s = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), options.runs)
    ours_s = timed(lambda: evaluate_kitti(ground_truth, detections), options.runs)
    print(f"{len(frame_ids)} frames, {len(ground_truth)} objects, {len(detections)} detections, 3 classes")
    print(f"lidar-rank evaluate, whole process: {process_s:.2f} s")
    print(f"evaluation alone, files parsed:     {ours_s:.3f} s")
    if find_spec("mmdet3d"):
        evaluate = host_evaluation(ground_truth, detections)
        host_s = timed(evaluate, options.runs)
        print(f"mmdet3d's evaluator, files parsed:  {host_s:.2f} s, {host_s / ours_s:.0f} times ours")


def timed(call: Callable[[], Any], runs: int) -> float:
    """Median time in seconds of ``runs`` calls, after one warm-up call."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


def host_evaluation(ground_truth: KittiObjects, detections: KittiObjects) -> Callable[[], Any]:
    """Return mmdet3d's evaluation of the same frames, classes, metrics and thresholds."""
    stand_in = ModuleType(HOST_IOU_MODULE)
    stand_in.rotate_iou_gpu_eval = rotated_overlap
    sys.modules[HOST_IOU_MODULE] = stand_in
    from mmdet3d.evaluation.functional.kitti_utils.eval import do_eval

    min_overlaps = np.tile([0.7, 0.5, 0.5], (1, 3, 1))
    annotations = [list(map(host_annotation, frames(table))) for table in (ground_truth, detections)]
    return lambda: do_eval(*annotations, [0, 1, 2], min_overlaps, ["bbox", "bev", "3d"])


def rotated_overlap(boxes: ndarray, others: ndarray, criterion: int = -1, device_id: int = 0) -> ndarray:  # noqa: ARG001
    """IoU for criterion -1 and area of the intersection for 2, which are the two that mmdet3d's evaluation uses."""
    # mmdet3d's boxes are (x, z, length, width, rotation about y). The rotation turns from x to -z.
    boxes, others = boxes * [1, 1, 1, 1, -1], others * [1, 1, 1, 1, -1]
    known = [(table[:, 2:4] >= 0).all(axis=1) for table in (boxes, others)]
    iou = np.zeros((len(boxes), len(others)))
    iou[np.ix_(*known)] = pairwise_iou_bev(boxes[known[0]], others[known[1]])
    areas = np.prod(boxes[:, None, 2:4], axis=2) + np.prod(others[None, :, 2:4], axis=2)
    return iou if criterion == -1 else iou / (1 + iou) * areas


def frames(table: KittiObjects) -> list[KittiObjects]:
    """One table per frame."""
    return [table.frame(i) for i in range(len(table.frame_ids))]


def host_annotation(frame: KittiObjects) -> dict[str, ndarray]:
    """Give the columns mmdet3d's names. Its dimensions are length, height, width."""
    return {
        "name": frame.name,
        "truncated": frame.truncation,
        "occluded": frame.occlusion,
        "alpha": frame.alpha_rad,
        "bbox": frame.bbox_px,
        "dimensions": frame.size_m[:, [2, 0, 1]],
        "location": frame.location_m,
        "rotation_y": frame.yaw_rad,
        "score": frame.score,
    }


if __name__ == "__main__":
    main()
