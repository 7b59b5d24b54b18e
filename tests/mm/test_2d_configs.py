"""Every 2D config takes two steps with every loss and is evaluated with its own, on tiny images."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from PIL import Image

from lidar_rank.config_files import losses_in_text
from lidar_rank.mm import running
from lidar_rank.mm.configs import load_config

from .conftest import CONFIGS
from .images import SIZE, coco_root, kitti_root, label_line, voc_root

OF_SCANS = ("second", "sassd", "pointpillars")
FILES = sorted(path for path in CONFIGS.glob("[a-z]*/*.py") if path.parent.name not in OF_SCANS)


def runs() -> list:
    """Every config with its own losses, and every loss that its detector takes on the data of the small one."""
    small = {path: losses_in_text(path) for path in FILES if path.stem.endswith("r18_small_bccd")}
    full = {path: {"rankdet", "ghm"} & losses_in_text(path) for path in FILES if path not in small}
    return [
        pytest.param(path, loss, id=f"{path.stem}-{loss}")
        for path, taken in {**small, **full}.items()
        for loss in (None, *sorted(taken))
    ]


def places(config: dict | list, name: str = "") -> Iterator[tuple[str, dict]]:
    """Every dict inside a config, with its dotted key."""
    if isinstance(config, dict):
        yield name, config
    children = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, child in children:
        yield from places(child, f"{name}.{key}" if name else str(key))


@functools.cache
def tiny(path: Path, *, validated: bool) -> dict:
    """Settings that make any config a matter of a second: a thin network, small images, two steps."""
    config = Config.fromfile(path)
    options = {
        "train_cfg.max_epochs": 1,
        "train_cfg.val_interval": 1,
        "train_cfg.val_begin": 1 if validated else 2,  # after the last
        "default_hooks.logger.interval": 1,
        "default_hooks.checkpoint.interval": 9,
        "default_hooks.checkpoint.save_last": False,
        "model.backbone.init_cfg": None,
        "model.test_cfg.rcnn.score_thr" if "rcnn" in config.model.test_cfg else "model.test_cfg.score_thr": 0.0,
    }
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        options |= {f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False, f"{loader}.batch_size": 1}
    for name, part in places({key: config[key] for key in ("train_dataloader", "val_dataloader")}):
        if part.get("type") == "Resize" and tuple(part.scale) != (300, 300):
            options[f"{name}.scale"] = (96, 64)
        if part.get("type") == "RepeatDataset":
            options[f"{name}.times"] = 1
    if config.model.backbone.type == "SSDVGG":
        small = Config.fromfile(CONFIGS / "ssd" / "ssd300_r18_small_bccd.py").model
        options |= {
            "model.backbone": {"_delete_": True, **small.backbone},
            "model.neck": small.neck,
            "model.bbox_head.in_channels": small.bbox_head.in_channels,
        }
    elif config.model.neck.type == "FPN":
        options |= {
            "model.backbone.depth": 18,
            "model.backbone.base_channels": 8,
            "model.neck.in_channels": [8, 16, 32, 64],
        }
    return options


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images in each format, where the host's configs look for them; one of KITTI has no object."""
    root = tmp_path_factory.mktemp("images")
    boxes = [(10, 12, 60, 70), (90, 20, 190, 96)]
    coco = {1: [(0, *boxes[0]), (2, *boxes[1])], 2: [(1, *boxes[0])]}
    coco_root(root / "data/coco", coco, classes=CocoDataset.METAINFO["classes"])
    voc_root(root / "data/VOCdevkit/VOC2007", {"a": [("car", *boxes[0]), ("person", *boxes[1])]})
    voc_root(root / "data/VOCdevkit/VOC2012", {"b": [("dog", *boxes[0])]})
    kitti = {"000000": [label_line("Car", *boxes[1]), label_line("DontCare", 5, 5, 30, 30)], "000001": []}
    kitti_root(root / "kitti", kitti)
    voc_root(root / "bccd", {"a": [("RBC", *boxes[0]), ("WBC", *boxes[1])], "b": [("Platelets", *boxes[0])]})
    return root


@pytest.mark.parametrize(("path", "loss"), runs())
def test_config_trains_two_steps_and_is_evaluated(path, loss, data, monkeypatch, tmp_path):
    monkeypatch.chdir(data)
    monkeypatch.setenv("KITTI_ROOT", str(data / "kitti"))
    monkeypatch.setenv("BCCD_ROOT", str(data / "bccd"))
    steps, models = [], []

    def keep_step(self, runner, batch_idx, data_batch=None, outputs=None):  # noqa: ARG001
        models.append(runner.model)
        steps.append({name: float(value) for name, value in outputs.items()})

    def keep_metrics(self, runner, metrics=None):  # noqa: ARG001
        steps.append(metrics)

    monkeypatch.setattr("mmengine.hooks.IterTimerHook.after_train_iter", keep_step)
    monkeypatch.setattr("mmengine.hooks.IterTimerHook.after_val_epoch", keep_metrics)
    running.train(str(path), loss=loss, work_dir=str(tmp_path), options=tiny(path, validated=loss is None))
    trained, metrics = steps[:2], steps[2:]
    assert sum(values["loss_cls"] for values in trained) > 0, "rankings of an image without objects may be 0"
    for values in trained:
        assert {"loss", "loss_cls", "loss_bbox"} <= set(values)
        assert all(torch.isfinite(torch.tensor(list(values.values()))))
    metric = "pascal_voc/mAP" if "voc0712" in path.stem else "coco/bbox_mAP_50"
    assert [metric in values for values in metrics] == ([True] if loss is None else [])
    if loss == "rankdet-paper":
        assert models[-1].bbox_head.loss_cls.progress == 1, "two steps: the first warms up, the second ranks"


def test_blood_cells_have_tuned_weights_and_those_of_the_papers():
    path = CONFIGS / "retinanet" / "retinanet_r18_small_bccd.py"

    def weights(loss: str | None) -> list[float]:
        own = load_config(str(path), loss).model.bbox_head.loss_cls
        parts = [own.start, own.end] if "start" in own else own.get("losses", [own])
        return [part.get("loss_weight", 1.0) for part in parts]

    tuned = {
        None: [0.1],
        "focal": [0.1],
        "dr": [0.25],
        "rankdet": [0.1, 0.1],
        "rankdet+diou": [0.1, 0.1],
        "ghm-c": [10.0],
        "ghm": [10.0],
        "ap": [0.1],
        "alrp": [0.25],
        "rank-sort": [0.25],
        "quality-focal": [0.1],
        "varifocal": [0.1],
        "focal-rankdet-iou": [0.1, 0.1],
        "focal-concordance": [0.1, 0.02],
    }
    assert load_config(str(path), "rankdet").custom_hooks[3] == {
        "type": "lidar_rank.WarmUpHook",
        "begin": 0.5,
        "end": 0.75,
    }, "at once, a class can be lost"
    alone = ("focal", "dr", "ghm-c", "ghm", "ap", "alrp", "rank-sort", "quality-focal", "varifocal")
    of_papers = {"rankdet-paper": [1.0, 1.0], "focal-concordance-paper": [1.0, 0.2]} | {
        f"{loss}-paper": [1.0] for loss in alone
    }
    assert {loss: weights(loss) for loss in tuned | of_papers} == tuned | of_papers


def test_test_command_writes_pictures_and_coco_results(data, monkeypatch, tmp_path):
    monkeypatch.setenv("BCCD_ROOT", str(data / "bccd"))
    path = CONFIGS / "retinanet" / "retinanet_r18_small_bccd.py"
    options = tiny(path, validated=False) | {"default_hooks.checkpoint.interval": 1}
    running.train(str(path), work_dir=str(tmp_path / "w"), options=options)
    checkpoint = str(tmp_path / "w" / "epoch_1.pth")
    out = str(tmp_path / "out")
    metrics = running.test(str(path), checkpoint, work_dir=str(tmp_path / "w"), out=out, options=options)
    assert {"coco/bbox_mAP", "coco/bbox_mAP_75", "pascal_voc/mAP"} <= set(metrics)
    for name in ("a", "b"):
        assert Image.open(tmp_path / "out" / f"{name}.jpg").size[1] == SIZE[1]
    found = json.loads((tmp_path / "out" / "results.bbox.json").read_text())
    assert {row["image_id"] for row in found} == {"a", "b"}


def test_missing_data_set_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("BCCD_ROOT", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match=r"absent/ImageSets/Main/train\.txt, .* BCCD_ROOT=DIR"):
        running.train(str(CONFIGS / "retinanet" / "retinanet_r18_small_bccd.py"), work_dir=str(tmp_path))
    monkeypatch.setenv("KITTI_ROOT", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match=r"absent/ImageSets/train\.txt, .*\. Name .* KITTI_ROOT=DIR"):
        running.train(str(CONFIGS / "retinanet" / "retinanet_r18_small_kitti-car.py"), work_dir=str(tmp_path))
