"""The scripts behind the figures of the documentation: where they write, and which runs they read."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

STUDIES = Path(__file__).parents[2] / "tools" / "studies"
CLS, BOX = "model.bbox_head.loss_cls", "model.bbox_head.loss_bbox"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, STUDIES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_loss_gradients_replace_the_picture_of_the_documentation():
    out = script("plot_loss_gradients").OUT
    assert out.is_file(), out


def test_weight_rule_reads_runs_that_differ_in_the_weight_alone(tmp_path):
    def run(row: str, trial: int, options: dict, ap: float | None, loss: str | None = "rankdet") -> None:
        folder = tmp_path / "tune" / "second" / row / str(trial) / "0"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"loss": loss, "data": "train", "options": options}))
        if ap is not None:
            metrics = {"kitti/Car/3d/R40/moderate": ap}
            (folder / "result.json").write_text(json.dumps({"train": {"metrics": metrics}}))

    weight, share = f"{CLS}.end.loss_weight", f"{CLS}.end.iou_weight"
    run("rankdet", 0, {weight: 0.5, "train_cfg.max_epochs": 3}, 78.9)
    run("rankdet", 1, {weight: 0.25, "train_cfg.max_epochs": 3}, 80.7)
    run("rankdet", 4, {weight: 0.1, "train_cfg.max_epochs": 3, "custom_hooks.2.begin": 0.25}, 84.6)
    run("rankdet", 2, {weight: 0.25, f"{BOX}.loss_weight": 4.0}, 81.4)
    run("rankdet", 3, {weight: 0.1}, None)
    run("rankdet-share", 0, {weight: 0.25, share: 4.0}, 84.7)
    run("rankdet-share", 1, {weight: 0.1, share: 4.0}, 84.0)
    run("rankdet-share", 2, {weight: 0.1, share: 10.0}, 84.9)
    run("focal", 0, {f"{CLS}.loss_weight": 2.0}, 78.0, loss=None)
    run("box-iou", 0, {f"{BOX}.losses.1.loss_weight": 1.0}, 83.8, loss="box-iou")
    run("box-iou", 1, {f"{BOX}.losses.1.loss_weight": 2.0}, 83.4, loss="box-iou")
    run("focal-iou", 0, {f"{CLS}.losses.1.loss_weight": 1.0}, 80.0, loss="focal-rankdet-iou")
    run("focal-iou", 1, {f"{CLS}.losses.1.loss_weight": 0.5}, 81.0, loss="focal-rankdet-iou")
    run("ghm-c", 0, {f"{CLS}.max_weight": 300.0}, 60.0, loss="ghm-c")
    found = script("plot_weight_rule").tuned(tmp_path)
    assert {str(settings): runs for settings, runs in found.items()} == {
        "rankdet": {0.25: 80.7, 0.5: 78.9},
        "rankdet, iou_weight 4": {0.1: 84.0, 0.25: 84.7},
    }
