#!/usr/bin/env python3
"""Train small 2D detectors with every loss, one after another, and write docs/results/ablation_2d.md.

Runs that are done are skipped and one that was stopped goes on from its last epoch, so start it again at will:

    lidar-rank simulate data/simulated --scans 480 --val 80 --seed 0
    python tools/ablation_2d.py --bccd data/BCCD --simulated data/simulated
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parents[1]
WORK_DIR = Path("work_dirs/ablation_2d")
TABLE = Path("docs/results/ablation_2d.md")
METRICS = {"AP": "coco/bbox_mAP", "AP50": "coco/bbox_mAP_50", "AP75": "coco/bbox_mAP_75"}

RETINANET = {
    "focal": "retinanet/retinanet_r18_small_{}.py",
    "DR": "retinanet/retinanet_dr_r18_small_{}.py",
    "RankDet": "retinanet/retinanet_rankdet_r18_small_{}.py",
    "GHM-C, GHM-R": "retinanet/retinanet_ghm_r18_small_{}.py",
    "IoU-balanced": "retinanet/retinanet_iou-balanced_r18_small_{}.py",
    "AP": "retinanet/retinanet_ap_r18_small_{}.py",
}
# Detector -> its baseline, then its papers' losses.
OTHERS = {
    "ATSS": {"focal": "atss/atss_r18_small_{}.py", "RankDet": "atss/atss_rankdet_r18_small_{}.py"},
    "SSD": {
        "cross entropy, OHEM": "ssd/ssd300_r18_small_{}.py",
        "IoU-balanced": "ssd/ssd300_iou-balanced_r18_small_{}.py",
    },
    "FoveaBox": {
        "focal": "foveabox/fovea_r18_small_{}.py",
        "IoU-balanced": "foveabox/fovea_iou-balanced_r18_small_{}.py",
    },
    "Faster R-CNN": {
        "smooth L1": "faster_rcnn/faster-rcnn_r18_small_{}.py",
        "GHM-R": "faster_rcnn/faster-rcnn_ghm-r_r18_small_{}.py",
        "IoU-balanced": "faster_rcnn/faster-rcnn_iou-balanced_r18_small_{}.py",
    },
}
DATA = {"bccd": ("BCCD_ROOT", "data/BCCD"), "kitti-car": ("KITTI_ROOT", "data/simulated")}


@dataclass(frozen=True)
class Run:
    """One training and its evaluation."""

    config: str
    data: str
    seed: int

    @property
    def work_dir(self) -> Path:
        """Where checkpoints, logs and the result go."""
        return WORK_DIR / f"{Path(self.config).stem}_seed-{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """Of ``lidar-rank``."""
        return ["train", f"configs/{self.config}", "--work-dir", str(self.work_dir), "--seed", str(self.seed)]

    def command(self) -> str:
        """As a reader would type it."""
        variable, place = DATA[self.data]
        return f"{variable}={place} lidar-rank {' '.join(self.arguments)}"

    def result(self) -> dict[str, float] | None:
        """AP, AP50, AP75 in percent, or None before the run is done."""
        path = self.work_dir / "result.json"
        return json.loads(path.read_text()) if path.is_file() else None


def all_runs(seeds: Sequence[int]) -> Iterator[Run]:
    """Seed by seed, so that a table is fair whenever it is written."""
    for seed in seeds:
        for data in DATA:
            yield from (Run(config.format(data), data, seed) for config in RETINANET.values())
        if seed == seeds[0]:
            others = [config for configs in OTHERS.values() for config in configs.values()]
            yield from (Run(config.format("bccd"), "bccd", seed) for config in others)


def train(run: Run, data_root: Path) -> None:
    """Train or go on training, then keep the result."""
    environment = {**os.environ, DATA[run.data][0]: str(data_root.absolute())}
    command = [sys.executable, "-m", "lidar_rank.cli", *run.arguments, "--resume"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    logs = sorted(run.work_dir.glob("*/vis_data/scalars.json"))
    rows = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    (values,) = [row for row in rows if METRICS["AP"] in row][-1:]
    result = {name: round(100 * values[key], 1) for name, key in METRICS.items()}
    (run.work_dir / "result.json").write_text(json.dumps(result))


def write_table(seeds: Sequence[int]) -> None:
    """Write what is done so far."""
    runs = list(all_runs(seeds))
    done = sum(run.result() is not None for run in runs)
    parts = [
        "# Losses on small 2D detectors\n",
        "COCO-style AP, AP50 and AP75 in percent: the mean over seeds, with the AP of each seed behind it. Networks"
        " are a quarter of ResNet-18's width, trained from scratch for minutes on one CPU core with one schedule a data"
        " set (`configs/_base_/small.py`): they compare losses, and say nothing of what a detector can reach."
        " Differences as small as those between seeds are none.\n",
        f"{done} of {len(runs)} runs are done. `python tools/ablation_2d.py --bccd data/BCCD --simulated"
        " data/simulated` trains the others and writes this page anew; a row's command is that of its first seed.\n",
        "## RetinaNet on blood cells\n",
        "BCCD's own lists: 205 images to train on, 72 to test, three classes.\n",
        *section({"RetinaNet": RETINANET}, "bccd", seeds),
        "## RetinaNet on simulated images\n",
        "`lidar-rank simulate data/simulated --scans 480 --val 80 --seed 0`: cars; those beyond KITTI's hard level"
        " are ignored. 400 images to train on, 80 to test.\n",
        *section({"RetinaNet": RETINANET}, "kitti-car", seeds),
        "## Other detectors on blood cells\n",
        "One run each: the papers' losses against the detector's own.\n",
        *section(OTHERS, "bccd", seeds[:1]),
    ]
    (ROOT / TABLE).parent.mkdir(parents=True, exist_ok=True)
    (ROOT / TABLE).write_text("\n".join(parts))


def section(detectors: dict[str, dict[str, str]], data: str, seeds: Sequence[int]) -> Iterator[str]:
    """Lines of a table, and a sentence on who does not beat the first loss of its detector."""
    yield "| detector | loss | AP | AP50 | AP75 | command |\n| --- | --- | --- | --- | --- | --- |"
    behind = []
    for detector, configs in detectors.items():
        results = {loss: _results(config.format(data), data, seeds) for loss, config in configs.items()}
        baseline, *others = configs
        for loss, values in results.items():
            yield _row(detector, loss, values, Run(configs[loss].format(data), data, seeds[0]))
        behind += [
            f"{detector} with {loss}"
            for loss in others
            if results[loss] and results[baseline] and _mean(results[loss]) <= _mean(results[baseline])
        ]
    yield f"\nNo better than the first row of their detector in AP: {', '.join(behind) or 'none'}.\n"


def _results(config: str, data: str, seeds: Sequence[int]) -> list[dict[str, float]]:
    results = (Run(config, data, seed).result() for seed in seeds)
    return [result for result in results if result is not None]


def _mean(results: list[dict[str, float]], metric: str = "AP") -> float:
    return mean(result[metric] for result in results)


def _row(detector: str, loss: str, results: list[dict[str, float]], run: Run) -> str:
    if not results:
        return f"| {detector} | {loss} | not run yet | | | `{run.command()}` |"
    each = ", ".join(f"{result['AP']:.1f}" for result in results)
    cells = [f"{_mean(results):.1f} ({each})", *(f"{_mean(results, metric):.1f}" for metric in ("AP50", "AP75"))]
    return f"| {detector} | {loss} | {' | '.join(cells)} | `{run.command()}` |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is left and write the page after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bccd", type=Path, help="root with Annotations, ImageSets and JPEGImages")
    parser.add_argument("--simulated", type=Path, help="KITTI root with images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    roots = {"bccd": options.bccd, "kitti-car": options.simulated}
    for run in all_runs(options.seeds):
        if run.result() is None and roots[run.data] is not None:
            print(f"==> {run.command()}", flush=True)
            train(run, roots[run.data])
            write_table(options.seeds)
    write_table(options.seeds)


if __name__ == "__main__":
    main()
