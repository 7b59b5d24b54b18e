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


def test_weight_rule_reads_runs_that_changed_the_weight_alone(tmp_path):
    def run(trial: int, loss: str | None, options: dict, ap: float | None) -> None:
        folder = tmp_path / "tune" / "second" / str(loss) / str(trial) / "0"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"loss": loss, "data": "train", "options": options}))
        if ap is not None:
            metrics = {"kitti/Car/3d/R40/moderate": ap}
            (folder / "result.json").write_text(json.dumps({"train": {"metrics": metrics}}))

    run(0, "rankdet", {f"{CLS}.end.loss_weight": 0.5, "train_cfg.max_epochs": 3}, 78.9)
    run(1, "rankdet", {f"{CLS}.end.loss_weight": 0.25}, 80.7)
    run(2, "rankdet", {f"{CLS}.end.loss_weight": 0.25, f"{BOX}.loss_weight": 4.0}, 81.4)
    run(3, "rankdet", {f"{CLS}.end.loss_weight": 0.1}, None)
    run(0, None, {f"{CLS}.loss_weight": 2.0}, 78.0)
    run(0, "box-iou", {f"{BOX}.losses.1.loss_weight": 1.0}, 83.8)
    run(1, "box-iou", {f"{BOX}.losses.1.loss_weight": 2.0}, 83.4)
    run(0, "focal-rankdet-iou", {f"{CLS}.losses.1.loss_weight": 1.0}, 80.0)
    run(1, "focal-rankdet-iou", {f"{CLS}.losses.1.loss_weight": 0.5}, 81.0)
    run(0, "ghm-c", {f"{CLS}.max_weight": 300.0}, 60.0)
    assert script("plot_weight_rule").tuned(tmp_path) == {"rankdet": {0.25: 80.7, 0.5: 78.9}}
