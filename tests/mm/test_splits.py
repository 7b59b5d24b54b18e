"""`lidar-rank test --split`: other frames of the root, and those that have no labels."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from lidar_rank.cli import main
from lidar_rank.kitti import prepare_kitti, read_kitti_results
from lidar_rank.mm import running
from lidar_rank.mm.registry import MODELS

from .conftest import CONFIGS
from .images import kitti_root as make_image_root
from .images import label_line, save_image

SHIFT_M = -0.48
OPTIONS = ["--cfg-options", "model.test_cfg.score_thr=0.0", "test_evaluator.point_cloud_range=None"]


@pytest.fixture
def root(small_config, simulated_root, tmp_path, monkeypatch) -> Path:  # noqa: ARG001 - sets KITTI_ROOT before
    """The simulated root with a test frame: the scan of the first val frame, from a LiDAR that stands elsewhere."""
    root = shutil.copytree(simulated_root, tmp_path / "kitti")
    name = val_frames(root)[0]
    for part in (f"velodyne/{name}.bin", f"calib/{name}.txt"):
        (root / "testing" / part).parent.mkdir(parents=True)
        shutil.copy(root / "training" / part, root / "testing" / part)
    calibration = root / "testing" / "calib" / f"{name}.txt"
    lines = calibration.read_text().splitlines()
    (index,) = (i for i, line in enumerate(lines) if line.startswith("Tr_velo_to_cam"))
    label, *values = lines[index].split()
    values[11] = str(float(values[11]) + SHIFT_M)
    lines[index] = " ".join([label, *values])
    calibration.write_text("\n".join(lines))
    (root / "ImageSets" / "test.txt").write_text(f"{name}\n")
    prepare_kitti(root, image_size=(1242, 375), progress=False)
    monkeypatch.setenv("KITTI_ROOT", str(root))
    return root


def val_frames(root: Path) -> list[str]:
    return (root / "ImageSets" / "val.txt").read_text().split()


def save_untrained(config: Path | str, folder: Path) -> str:
    """Weights before training."""
    config = Config.fromfile(config)
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    torch.save({"state_dict": MODELS.build(config.model).state_dict()}, folder / "untrained.pth")
    return str(folder / "untrained.pth")


def test_frames_without_labels_get_result_files_in_their_own_calibration(small_config, root, tmp_path, capsys):
    """They were converted with the calibration of the training frame of that number: boxes off by 0.48 m."""
    weights = save_untrained(small_config, tmp_path)
    name = val_frames(root)[0]
    found = {}
    for split in ("val", "test"):
        out = tmp_path / split
        command = [
            "test",
            small_config,
            weights,
            "--split",
            split,
            "--out",
            str(out),
            "--work-dir",
            str(tmp_path / "w"),
        ]
        assert main([*command, *OPTIONS]) == 0
        found[split] = read_kitti_results(out, sorted(path.stem for path in out.glob("*.txt")))
    assert found["val"].frame_ids == tuple(val_frames(root))
    assert found["test"].frame_ids == (name,)
    printed = capsys.readouterr().out
    assert f"No AP: {root}/testing has no label_2" in printed

    same_scan = found["val"].frame(0)
    assert len(found["test"]) > 20
    # The same boxes have the same size and direction; their scores depend by rounding on the neighbours in the batch.
    shapes = [np.column_stack([boxes.size_m, boxes.yaw_rad]) for boxes in (found["test"], same_scan)]
    gaps = np.abs(shapes[0][:, None] - shapes[1]).max(axis=2)
    test_rows = np.flatnonzero(gaps.min(axis=1) < 1e-3)
    val_rows = gaps[test_rows].argmin(axis=1)
    assert len(val_rows) > 20
    moved = found["test"].location_m[test_rows] - same_scan.location_m[val_rows]
    # A few boxes of an untrained head share a score.
    assert np.median(np.linalg.norm(moved, axis=1)) == pytest.approx(abs(SHIFT_M), abs=1e-6)


@pytest.mark.usefixtures("root")
def test_a_split_with_labels_is_evaluated(small_config, tmp_path):
    weights = save_untrained(small_config, tmp_path)
    run = {"work_dir": str(tmp_path), "out": str(tmp_path / "out")}
    assert "kitti/Car/3d/R40/moderate" in running.test(small_config, weights, split="train", **run)
    assert len(list((tmp_path / "out").glob("*.txt"))) == 4


def test_a_root_with_val_alone_is_tested(small_config, root, tmp_path):
    for path in (root / "ImageSets" / "train.txt", root / "ImageSets" / "test.txt"):
        path.unlink()
    prepare_kitti(root, image_size=(1242, 375), progress=False)
    weights = save_untrained(small_config, tmp_path)
    assert "kitti/Car/3d/R40/moderate" in running.test(small_config, weights, work_dir=str(tmp_path))


@pytest.mark.usefixtures("root")
def test_frames_without_labels_need_a_folder_for_their_results(small_config, tmp_path):
    weights = save_untrained(small_config, tmp_path)
    with pytest.raises(ValueError, match=r"testing has no labels: name a folder for the results with --out DIR"):
        running.test(small_config, weights, split="test", work_dir=str(tmp_path))


def test_a_split_that_is_not_prepared_and_other_data_are_named(small_config, tmp_path, monkeypatch):
    weights = save_untrained(small_config, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"kitti_infos_test\.pkl, which does not exist"):
        running.test(small_config, weights, split="test", out=str(tmp_path / "out"), work_dir=str(tmp_path))
    metric = {"test_evaluator": {"_delete_": True, "type": "KittiMetric", "ann_file": "kitti_infos_val.pkl"}}
    with pytest.raises(
        ValueError, match="--split needs KittiAP or DistanceAP for scans or CocoMetric for images, not KittiMetric"
    ):
        running.test(small_config, weights, split="val", work_dir=str(tmp_path), options=metric)
    monkeypatch.setenv("BCCD_ROOT", str(tmp_path))
    config = str(CONFIGS / "retinanet" / "retinanet_r18_small_bccd.py")
    with pytest.raises(ValueError, match="--split needs a data set in KITTI's format, but this config tests on a VOC"):
        running.test(config, weights, split="val", work_dir=str(tmp_path))


def test_damaged_annotation_files_are_named_before_the_model_is_built(small_config, root, tmp_path):
    weights = save_untrained(small_config, tmp_path)
    for name in ("kitti_infos_val.pkl", "kitti_dbinfos_train.pkl"):
        path = root / name
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"kitti_infos_val\.pkl: damaged"):
        running.test(small_config, weights, work_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"kitti_dbinfos_train\.pkl: damaged"):
        running.train(small_config, work_dir=str(tmp_path))


def test_images_without_labels_get_detections_and_no_ap(tmp_path, monkeypatch):
    root = make_image_root(tmp_path / "kitti", {"000000": [label_line("Car", 20, 50, 60, 80)]})
    for seed, name in enumerate(("000000", "000005")):
        save_image(root / "testing" / "image_2" / f"{name}.png", seed)
    (root / "ImageSets" / "test.txt").write_text("000000\n000005\n")
    monkeypatch.setenv("KITTI_ROOT", str(root))
    config = CONFIGS / "retinanet" / "retinanet_r18_small_kitti-car.py"
    weights = save_untrained(config, tmp_path)
    options = {
        "model.test_cfg.score_thr": 0.0,
        "test_dataloader.num_workers": 0,
        "test_dataloader.persistent_workers": False,
    }
    run = {"work_dir": str(tmp_path), "out": str(tmp_path / "out"), "options": options}
    assert running.test(str(config), weights, split="test", **run) == {}
    rows = json.loads((tmp_path / "out" / "results.bbox.json").read_text())
    assert {row["image_id"] for row in rows} == {"000000", "000005"}
