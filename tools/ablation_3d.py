"""Measure what each loss is worth on the small 3D detectors: same data, same schedule, several seeds.

    python tools/ablation_3d.py                                   # hours; start it again to go on where it stopped
    python tools/ablation_3d.py --rows second/focal second/dr     # some rows only
    python tools/ablation_3d.py --report                          # write the table from the runs that are done

A run is one ``lidar-rank train``, then a test on held-back simulated scans and, with --real, on the validation frames
of a prepared KITTI root. Seeds are the outer loop, so that a table of the first seed has every loss. Its numbers lie in
OUT/ROW/SEED/result.json: what has one is skipped, and a run that was killed resumes at its last epoch.
"""

import argparse
import ast
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

from lidar_rank.kitti.files import write_atomically

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "results" / "ablation_3d.md"
IMAGE_SIZE = (1242, 375)
SIZES = [("scans", 300, "scans to train on"), ("held", 100, "scans held back"), ("epochs", 4, "epochs")]
SETS = {"simulated": "held-back simulated scans", "real": "real validation frames"}
ROWS = {
    "second/focal": "configs/second/second_kitti-car_small.py",
    "second/dr": "configs/second/second_dr_kitti-car_small.py",
    "second/rankdet": "configs/second/second_rankdet_kitti-car_small.py",
    "second/rankdet-no-iou": "configs/second/second_rankdet-no-iou_kitti-car_small.py",
    "second/iou-balanced": "configs/second/second_iou-balanced_kitti-car_small.py",
    "second/ghm": "configs/second/second_ghm_kitti-car_small.py",
    "second/ap": "configs/second/second_ap_kitti-car_small.py",
    "second/focal-rankdet-iou": "configs/second/second_focal-rankdet-iou_kitti-car_small.py",
    "second/ce": "configs/second/second_ce_kitti-car_small.py",
    "sassd/focal": "configs/sassd/sassd_kitti-car_small.py",
    "sassd/dr": "configs/sassd/sassd_dr_kitti-car_small.py",
    "sassd/rankdet": "configs/sassd/sassd_rankdet_kitti-car_small.py",
    "sassd/rankdet-no-iou": "configs/sassd/sassd_rankdet-no-iou_kitti-car_small.py",
    "second/rankdet-global": "configs/second/second_rankdet-global_kitti-car_small.py",
    "second/rankdet-class": "configs/second/second_rankdet-class_kitti-car_small.py",
}
# Voxels of 0.16 m instead of 0.1 m, and fewer layers: a step takes a third of the small config's time.
SMALLER = {
    "second": {
        "model.data_preprocessor.voxel_layer.voxel_size": "[0.16,0.16,0.2]",
        "model.middle_encoder.sparse_shape": "[21,240,240]",
        "model.middle_encoder.encoder_channels": "((16,),(16,16),(32,32))",
        "model.backbone.layer_nums": "[2,2]",
    },
    "sassd": {
        "model.data_preprocessor.voxel_layer.voxel_size": "[0.16,0.16,0.2]",
        "model.middle_encoder.sparse_shape": "(20,240,240)",
        "model.backbone.depth": "3",
        "model.auxiliary.voxel_size_m": "[0.16,0.16,0.2]",
        "model.bbox_head.voxel_size": "[0.16,0.16,0.2]",
    },
}
# As in the demo: hundreds of steps learn more in small batches and from objects left where they were.
MILD = {
    "train_dataloader.batch_size": "2",
    "train_dataloader.dataset.dataset.pipeline.3.translation_std": "[0,0,0]",
    "train_dataloader.dataset.dataset.pipeline.3.rot_range": "[0,0]",
    "train_dataloader.dataset.dataset.pipeline.5.rot_range": "[-0.25,0.25]",
}
COLUMNS = {
    "3D @0.7 easy / moderate / hard": [f"3d/R40/{level}" for level in ("easy", "moderate", "hard")],
    "BEV @0.7 easy / moderate / hard": [f"bev/R40/{level}" for level in ("easy", "moderate", "hard")],
    "3D @0.75": ["3d@0.75/R40/moderate"],
    "3D @0.8": ["3d@0.8/R40/moderate"],
    "F-B": ["reversed/foreground_background"],
    "P-N": ["reversed/positive_negative"],
    "P-P": ["reversed/positive_positive"],
}


def main() -> None:
    """Run what is missing, then write the table."""
    options = _arguments()
    _keep_settings(options)
    failed = []
    if not options.report:
        _make_data(options)
        for seed in range(options.seeds):
            for row in options.rows:
                try:
                    _run(row, seed, options)
                except subprocess.CalledProcessError as error:
                    failed.append(f"{row} with seed {seed}: {error}")
                _write_table(options)
    _write_table(options)
    if failed:
        raise SystemExit("\n".join(["ablation_3d: these runs failed; start again to retry them", *failed]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/ablation_3d"), help="runs (default %(default)s)")
    parser.add_argument("--data", type=Path, help="simulated root, made if missing (default OUT/kitti)")
    parser.add_argument("--real", type=Path, help="prepared KITTI root: test on its validation frames too")
    parser.add_argument("--table", type=Path, default=TABLE, help="file to write (default docs/results/ablation_3d.md)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=3, help="default %(default)s")
    for name, default, meaning in SIZES:
        parser.add_argument(f"--{name}", type=int, help=f"{meaning} (default: as OUT was begun, else {default})")
    parser.add_argument("--report", action="store_true", help="only write the table")
    options = parser.parse_args()
    options.data = options.data or options.out / "kitti"
    return options


def _keep_settings(options: argparse.Namespace) -> None:
    """Take the sizes that OUT was begun with, or write them down: runs of other sizes do not compare."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "settings.json"
    kept = json.loads(path.read_text()) if path.exists() else {name: default for name, default, _ in SIZES}
    for name, value in kept.items():
        asked = getattr(options, name)
        if asked is not None and asked != value and path.exists():
            raise SystemExit(
                f"ablation_3d: {options.out} was begun with --{name} {value}, got {asked}; name another --out"
            )
        kept[name] = value if asked is None else asked
        setattr(options, name, kept[name])
    write_atomically(path, (json.dumps(kept) + "\n").encode())


def _make_data(options: argparse.Namespace) -> None:
    from lidar_rank.kitti import prepare_kitti
    from lidar_rank.simulation import simulate_kitti

    if not (options.data / "kitti_infos_val.pkl").exists():
        scans = options.scans + options.held
        simulate_kitti(options.data, scans=scans, seed=0, val=options.held, images=False, jobs=1)
        prepare_kitti(options.data, image_size=IMAGE_SIZE)


def _settings(row: str, epochs: int) -> dict[str, str]:
    return {
        **SMALLER[row.partition("/")[0]],
        **MILD,
        "train_cfg.max_epochs": str(epochs),
        "train_cfg.val_begin": str(epochs + 1),
        "param_scheduler.0.total_steps": str(epochs),
        "train_dataloader.dataset.times": "1",
        "train_dataloader.num_workers": "0",
    }


def _run(row: str, seed: int, options: argparse.Namespace) -> None:
    folder = options.out / row / str(seed)
    if (folder / "result.json").exists():
        return
    checkpoint = folder / f"epoch_{options.epochs}.pth"
    if not checkpoint.exists():
        command = [sys.executable, "-m", "lidar_rank.cli", "train", str(ROOT / ROWS[row]), "--resume"]
        command += ["--work-dir", str(folder), "--seed", str(seed), "--cfg-options"]
        command += [f"{key}={value}" for key, value in _settings(row, options.epochs).items()]
        subprocess.run(command, check=True, env={**os.environ, "KITTI_ROOT": str(options.data)})
    roots = {"simulated": options.data, **({"real": options.real} if options.real else {})}
    result = {name: _measure(row, checkpoint, folder, root, options.epochs) for name, root in roots.items()}
    write_atomically(folder / "result.json", (json.dumps(result, indent=2) + "\n").encode())


def _measure(row: str, checkpoint: Path, folder: Path, root: Path, epochs: int) -> dict[str, float]:
    """AP of cars, and the share of reversed pairs, on the validation frames of a root."""
    os.environ["KITTI_ROOT"] = str(root)
    from lidar_rank.mm import running

    settings = {key: ast.literal_eval(value) for key, value in _settings(row, epochs).items()}
    settings |= {
        "test_evaluator.extra_overlaps": (0.5, 0.75, 0.8),
        "test_dataloader.num_workers": 0,
        "test_dataloader.persistent_workers": False,
    }
    where = {"work_dir": str(folder / "test"), "options": settings}
    found = running.analyze(str(ROOT / ROWS[row]), str(checkpoint), **where)
    kinds = ("foreground_background", "positive_negative", "positive_positive")
    reversed_pairs = {f"reversed/{kind}": 100 * getattr(found.pairs, kind).ratio for kind in kinds}
    return {name.removeprefix("kitti/Car/"): value for name, value in found.metrics.items()} | reversed_pairs


def _write_table(options: argparse.Namespace) -> None:
    results = {row: _results(options.out / row) for row in ROWS}
    results = {row: runs for row, runs in results.items() if runs}
    parts = [_introduction(options, results)]
    parts += [_section(name, results) for name in SETS if any(name in run for runs in results.values() for run in runs)]
    parts.append(_commands(results, options))
    options.table.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.table, "\n".join(parts).encode())


def _results(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/result.json"))]


def _introduction(options: argparse.Namespace, results: dict[str, list[dict]]) -> str:
    seeds = sorted({len(runs) for runs in results.values()})
    number = " to ".join(str(value) for value in dict.fromkeys([seeds[0], seeds[-1]])) if seeds else "no"
    real = " --real data/kitti" if options.real else ""
    return f"""# What each loss is worth on the small detectors

{options.scans} simulated scans to train on, {options.held} held back, {options.epochs} epochs in batches of 2.
Seeds a row: {number}. AP in percent, R40, cars within 38.4 m x 38.4 m; AP @0.75 and @0.8 are of moderate
difficulty. ± is the standard deviation over seeds. F-B, P-N and P-P are the percentages of reversed pairs of
RankDetNet's table 3, over all anchors: foreground below background, a class's objects below all else, the better placed
of two boxes below the other.

```
python tools/ablation_3d.py{real}
```
goes on with the runs that are missing.
"""


def _section(name: str, results: dict[str, list[dict]]) -> str:
    lines = [f"## {SETS[name].capitalize()}", f"| loss | seeds | {' | '.join(COLUMNS)} |"]
    lines.append("| --- " * (2 + len(COLUMNS)) + "|")
    for row, runs in results.items():
        measured = [run[name] for run in runs if name in run]
        if measured:
            cells = (
                " / ".join(_cell([run[key] for run in measured], key) for key in keys) for keys in COLUMNS.values()
            )
            lines.append(f"| {row} | {len(measured)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _behind(name, results)]) + "\n"


def _behind(name: str, results: dict[str, list[dict]]) -> str:
    """A sentence on the losses whose mean is not above that of focal loss on the same detector."""
    key = "3d/R40/moderate"
    values = {row: [run[name][key] for run in runs if name in run] for row, runs in results.items()}
    means = {row: mean(own) for row, own in values.items() if own}
    losses = [row for row in means if not row.endswith("/focal")]
    behind = [row for row in losses if means[row] <= means.get(f"{row.partition('/')[0]}/focal", -math.inf)]
    return f"Not above focal loss in moderate 3D AP @0.7: {', '.join(behind) or 'none'}."


def _cell(values: Sequence[float], key: str) -> str:
    digits = 2 if key.startswith("reversed") else 1
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def _commands(rows: Iterable[str], options: argparse.Namespace) -> str:
    lines = ["## Commands", "SEED is 0, 1, 2; `tools/ablation_3d.py` gives these and tests afterwards.", "```"]
    rows = list(rows)
    for detector in dict.fromkeys(row.partition("/")[0] for row in rows):
        settings = _settings(f"{detector}/", options.epochs)
        lines.append(f"{detector.upper()}=" + _quoted([f"{key}={value}" for key, value in settings.items()]))
    for row in rows:
        name = f"${row.partition('/')[0].upper()}"
        lines.append(f"lidar-rank train {ROWS[row]} --seed SEED --cfg-options {name}  # {row}")
    return "\n".join([*lines, "```", ""])


def _quoted(words: Sequence[str]) -> str:
    return '"' + " \\\n  ".join(words) + '"'


if __name__ == "__main__":
    main()
