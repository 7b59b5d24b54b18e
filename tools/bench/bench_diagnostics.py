"""Measure what the live diagnostics cost: steps of one training with and without a measurement, in turn.

    python tools/bench/bench_diagnostics.py second_kitti-car_small --steps 60

Every second step of the run is measured. The cost of a measurement is the median difference between a step and the one
before it, in wall time and in processor time of all threads; loading of data counts in neither. Without KITTI_ROOT the
scans are simulated.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from mmengine.hooks import Hook
from mmengine.runner import Runner

from lidar_rank.mm.configs import load_config
from lidar_rank.settings import prepare_for_cpus

WARM_UP: Final = 6
INTERVALS: Final = (10, 50, 100)


class StepTimes(Hook):
    """Wall and processor seconds of each step, from loaded data to changed weights."""

    priority = "HIGHEST"
    rows: Final[list[tuple[float, float]]] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:  # noqa: ARG002
        """Start the clocks."""
        synchronise()
        self._begin = time.perf_counter(), time.process_time()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:  # noqa: ARG002
        """Stop them."""
        synchronise()
        self.rows.append((time.perf_counter() - self._begin[0], time.process_time() - self._begin[1]))


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def simulate(root: Path) -> None:
    """Simulate and prepare a few scans."""
    from lidar_rank.kitti import prepare_kitti
    from lidar_rank.simulation import simulate_kitti

    simulate_kitti(root, scans=24, seed=0, val=4, images=False)
    prepare_kitti(root, image_size=(1242, 375), progress=False)


def main() -> None:
    """Train, then print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--loss", help="name of a loss to put in")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    prepare_for_cpus()
    with tempfile.TemporaryDirectory() as folder:
        if "KITTI_ROOT" not in os.environ:
            os.environ["KITTI_ROOT"] = str(Path(folder) / "kitti")
            simulate(Path(folder) / "kitti")
        train(options, Path(folder) / "run")
    times = StepTimes.rows[WARM_UP:]
    print(f"{options.config}, {len(times)} steps\n")
    print("| time | step, ms | measurement, ms |", *(f"every {n} steps |" for n in INTERVALS))
    print("| --- |" + " ---: |" * (2 + len(INTERVALS)))
    for name, column in (("wall", 0), ("processor", 1)):
        plain, measured = ([row[column] for row in times[start::2]] for start in (0, 1))
        step = statistics.median(plain)
        cost = statistics.median(after - before for before, after in zip(plain, measured, strict=True))
        shares = (f"{100 * cost / (n * step):.2f} % |" for n in INTERVALS)
        print(f"| {name} | {1e3 * step:.1f} | {1e3 * cost:.1f} |", *shares)


def train(options: argparse.Namespace, work_dir: Path) -> None:
    """Train for the given number of steps; the hook measures every second one."""
    cfg = load_config(options.config, options.loss)
    hook = {"type": "lidar_rank.DiagnosticsHook", "interval": 2}
    cfg.merge_from_dict(
        {
            "work_dir": str(work_dir),
            "custom_hooks": [*cfg.get("custom_hooks", []), hook],
            "train_cfg": {
                "_delete_": True,
                "type": "IterBasedTrainLoop",
                "max_iters": WARM_UP + 2 * (options.steps // 2),
            },
            "param_scheduler": None,
            "val_cfg": None,
            "val_dataloader": None,
            "val_evaluator": None,
            "log_level": "WARNING",
        }
    )
    runner = Runner.from_cfg(cfg)
    runner.register_hook(StepTimes())
    runner.train()


if __name__ == "__main__":
    main()
