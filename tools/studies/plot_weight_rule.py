"""Compare the weights that trained best with those that `lidar-rank tune-weight` finds.

    python tools/studies/plot_weight_rule.py work_dirs/ablation_3d [OUT.png]

reads the runs of `python tools/ablation.py 3d --phase tune` that differ in nothing but the weight of the classification
loss, and measures gradients with the weights of the study's second/focal, seed 0. It prints a table, and draws the AP
of each loss over its weight, as a multiple of the weight at which its gradient equals that of focal loss.
"""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import pyplot as plt

from lidar_rank.config_files import config_folder

OUT = Path(__file__).parents[2] / "docs" / "images" / "weight_rule.png"
SCORE = "kitti/Car/3d/R40/moderate"
BATCHES = 50


class Settings(NamedTuple):
    """What the runs of a curve share: a loss, and its options other than the weight."""

    loss: str
    options: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        own = [(key, value) for key, value in self.options if ".loss_" in key]
        words = (f"{'box ' * ('.loss_bbox.' in key)}{key.rpartition('.')[2]} {value:g}" for key, value in own)
        return ", ".join([self.loss, *words])


def weight_of(options: dict[str, Any]) -> tuple[float | None, dict[str, Any]]:
    """The weight of the classification loss in the options of a run, None if they do not set it, and its others."""
    others = dict(options)
    weights = [key for key in others if key.endswith("loss_weight") and ".loss_cls." in key and ".losses." not in key]
    return (others.pop(weights[0]), others) if len(weights) == 1 else (None, others)


def tuned(study: Path) -> dict[Settings, dict[float, float]]:
    """AP of the runs of each loss by weight."""
    found: dict[Settings, dict[float, float]] = defaultdict(dict)
    for path in sorted(study.glob("tune/*/*/*/0/run.json")):
        run, result = json.loads(path.read_text()), path.with_name("result.json")
        weight, others = weight_of(run["options"])
        if run["loss"] and weight is not None and result.exists():
            settings = Settings(run["loss"], tuple(sorted(others.items())))
            found[settings][weight] = json.loads(result.read_text())[run["data"]]["metrics"][SCORE]
    return {settings: dict(sorted(runs.items())) for settings, runs in found.items() if len(runs) > 1}


def main() -> None:
    """Measure, print, draw."""
    from lidar_rank.mm import running  # loads mmdet3d, which reading the runs does without

    study, out = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else OUT
    os.environ["KITTI_ROOT"] = str(study / "train")
    focal = study / "second" / "focal" / "0"
    checkpoint = focal / Path((focal / "last_checkpoint").read_text().strip()).name
    config = str(config_folder() / json.loads((focal / "run.json").read_text())["config"])
    mpl.use("Agg")
    _, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    axes.set_prop_cycle(color=mpl.colormaps["tab20"].colors)  # more losses than the default colours
    print("| loss | weight for equal gradients | best weight | its AP | AP at the other weights |")
    print("| --- | ---: | ---: | ---: | --- |")
    for settings, runs in tuned(study).items():
        own = {key: value for key, value in settings.options if ".loss_cls." in key}  # the focal run has other boxes
        options = {"train_dataloader.num_workers": 0, **own}
        where = str(study / "gradients")
        found = running.tune_weight(
            config, str(checkpoint), loss=settings.loss, batches=BATCHES, work_dir=where, options=options
        )
        best = max(runs, key=lambda weight: runs[weight])
        others = ", ".join(f"{weight:g}: {ap:.1f}" for weight, ap in runs.items() if weight != best)
        print(f"| {settings} | {found.weight:.2g} | {best:g} | {runs[best]:.1f} | {others} |", flush=True)
        axes.plot([weight / found.weight for weight in runs], runs.values(), "o-", label=str(settings))
    axes.axvline(1, color="0.6", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(ticks := [0.25, 0.5, 1, 2, 4], labels=[f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="weight / weight for equal gradients", ylabel="3D AP@0.7, moderate")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plt.savefig(out, dpi=100)


if __name__ == "__main__":
    main()
