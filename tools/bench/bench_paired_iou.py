"""Time paired rotated IoU, forward and backward, against the focal loss of a batch and, on a GPU, mmcv's operator.

    python tools/bench/bench_paired_iou.py [--runs 21] [--threads 2] [--device cpu]

The functions take turns within each run, and the figures are medians. ``mmcv.ops.diff_iou_rotated_3d`` has no code for
CPUs and is timed only on a GPU, if mmcv is built for it.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import Tensor

from lidar_rank.geometry import paired_iou_3d
from lidar_rank.losses import sigmoid_focal_loss


def main() -> None:
    """Print one line per number of positives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(-4, 1, (4, 70400, 1)), dtype=torch.float32, device=options.device)
    labels = torch.tensor((rng.random((4, 70400)) > 0.001).astype(np.int64), device=options.device)
    print(
        f"{options.device}, {options.threads} threads, median of {options.runs} runs; focal loss of 4 x 70,400 logits"
    )
    for count in (50, 500, 5000):
        objects = cars(rng, count)
        boxes = objects + rng.normal(0, 0.2, objects.shape) * [1, 1, 0.3, 1, 0.3, 0.3, 0.3]
        a, b = (torch.tensor(t, dtype=torch.float32, device=options.device) for t in (boxes, objects))
        calls = {
            "paired IoU": lambda a=a, b=b: step(lambda x: paired_iou_3d(x, b), a),
            "focal loss": lambda: step(lambda x: sigmoid_focal_loss(x, labels), logits),
        }
        if options.device != "cpu":
            calls["mmcv"] = mmcv_call(a, b)
        times_s = timed(calls, options.runs)
        line = ", ".join(f"{name} {1e3 * seconds:.2f} ms" for name, seconds in times_s.items())
        print(f"{count:5d} pairs: {line}; {times_s['paired IoU'] / times_s['focal loss']:.2f} focal losses")


def mmcv_call(a: Tensor, b: Tensor) -> Callable[[], None]:
    """Return the same forward and backward pass with mmcv, whose boxes are centred in z."""
    from mmcv.ops import diff_iou_rotated_3d

    centred = [torch.cat([t[:, :2], t[:, 2:3] + t[:, 5:6] / 2, t[:, 3:]], 1)[None] for t in (a, b)]
    return lambda: step(lambda x: diff_iou_rotated_3d(x, centred[1]), centred[0])


def step(function: Callable[[Tensor], Tensor], values: Tensor) -> None:
    """Run forward and backward, and wait for the device."""
    function(values.detach().requires_grad_()).sum().backward()
    if values.is_cuda:
        torch.cuda.synchronize()


def cars(rng: np.random.Generator, num: int) -> np.ndarray:
    """Boxes of cars at random places in the range."""
    centre_m = rng.uniform([0, -40, -2.2], [70, 40, -1.4], (num, 3))
    size_m = rng.normal([3.9, 1.6, 1.56], [0.4, 0.1, 0.1], (num, 3))
    return np.column_stack([centre_m, size_m, rng.uniform(-np.pi, np.pi, num)])


def timed(calls: dict[str, Callable[[], None]], runs: int) -> dict[str, float]:
    """Median time of each call in seconds. The calls take turns, after one warm-up round."""
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(runs + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if run:
                times_s[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times_s.items()}


if __name__ == "__main__":
    main()
