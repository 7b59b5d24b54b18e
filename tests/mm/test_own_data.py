"""Labelled scans of one's own: imported, prepared, trained on and evaluated without a camera."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import init_default_scope

from lidar_rank.cli import main
from lidar_rank.importing import import_data
from lidar_rank.kitti import prepare_kitti
from lidar_rank.kitti.labelled import read_labelled_scans
from lidar_rank.mm import running
from lidar_rank.mm.datasets import LidarDataset, check_annotations, use_split
from lidar_rank.mm.metrics import DistanceAP, KittiAP
from lidar_rank.page.measures import measure
from tests.importing.examples import example, write_openpcdet

from .conftest import CONFIGS


@pytest.fixture(scope="module")
def own_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared root of three scans with the classes car and person, and a tree that is left out."""
    folder = tmp_path_factory.mktemp("own")
    write_openpcdet(folder / "export", example())
    names = {"classes": ["person", "car"], "class_map": {"walking_person": "person"}}
    import_data(folder / "export", folder / "root", source_format="openpcdet", progress=False, **names)
    prepare_kitti(folder / "root", progress=False)
    return folder / "root"


@pytest.fixture
def own_config(own_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The small config for own data, shrunk to voxels of 0.64 m and one layer a stage."""
    monkeypatch.setenv("KITTI_ROOT", str(own_root))
    path = tmp_path / "second_own_tiny.py"
    path.write_text(f"""
_base_ = ["{CONFIGS / "second" / "second_own_small.py"}"]
model = dict(
    data_preprocessor=dict(voxel_layer=dict(voxel_size=[0.64, 0.64, 0.2], max_voxels=(4000, 4000))),
    middle_encoder=dict(sparse_shape=[21, 128, 128]),
    backbone=dict(layer_nums=[1, 1]),
    test_cfg=dict(score_thr=0.0),
)
param_scheduler = [dict(_base_.one_cycle, total_steps=2)]
""")
    return str(path)


def test_own_scans_are_trained_on_and_evaluated_without_a_camera(own_config, own_root, brief, tmp_path, capsys):
    """The numbers of the training are those that its result files give on the command line."""
    running.train(own_config, work_dir=str(tmp_path / "work"), options=brief)
    checkpoint = str(tmp_path / "work" / "epoch_2.pth")
    metrics = running.test(own_config, checkpoint, out=str(tmp_path / "out"), split="train")
    assert {"lidar/person/3d/R40/all", "lidar/car/bev@0.5/R11/0-30m", "lidar/mean/3d/R40/all"} <= set(metrics)
    assert not any("50m" in name for name in metrics), "there is no object so far away"
    capsys.readouterr()
    labels, split = str(own_root / "training/label_2"), str(own_root / "ImageSets/train.txt")
    assert main(["evaluate", labels, str(tmp_path / "out"), "--split", split, "--bands", "0", "30", "50"]) == 0
    table = capsys.readouterr().out
    assert (
        "AP %                                     all               0-30m              30-50m                50m+"
        in table
    )
    assert f"{metrics['lidar/car/3d/R40/all']:.2f}" in next(row for row in table.splitlines() if "car 3d @0.7" in row)
    run, picture = tmp_path / "own.json", tmp_path / "own.png"
    assert main(["analyze", own_config, checkpoint, "--out", str(run), "--work-dir", str(tmp_path / "analyzed")]) == 0
    assert main(["report", str(run), "--out", str(tmp_path / "own.html")]) == 0
    assert main(["view", str(run), "--picture", str(picture)]) == 0
    assert picture.is_file()
    own = own_root / "training"
    command = ["predict", own_config, str(own / "velodyne"), "--checkpoint", checkpoint, "--page", "--score", "0"]
    labels = ["--calib", str(own / "calib"), "--labels", str(own / "label_2"), "--out", str(tmp_path / "found")]
    assert main([*command, *labels]) == 0
    assert (tmp_path / "found/index.html").read_text().count('"counted": [true]') == 3
    assert not (tmp_path / "found/camera").exists(), "there is none"
    written = Config.fromfile(tmp_path / "work" / "second_own_tiny.py")
    assert written.test_dataloader.dataset.metainfo.classes == ["person", "car"], "the config that predict takes"


def test_an_empty_scan_is_trained_on(own_config, own_root, brief, monkeypatch, tmp_path):
    root = Path(shutil.copytree(own_root, tmp_path / "root"))
    first = (root / "ImageSets/train.txt").read_text().split()[0]
    (root / f"training/velodyne/{first}.bin").write_bytes(b"")
    prepare_kitti(root, progress=False)
    monkeypatch.setenv("KITTI_ROOT", str(root))
    options = brief | {"train_cfg.val_begin": 3, "train_dataloader.batch_size": 1}
    running.train(own_config, work_dir=str(tmp_path / "work"), options=options)
    (log,) = (tmp_path / "work").glob("*/vis_data/scalars.json")
    losses = [row["loss"] for row in map(json.loads, log.read_text().splitlines()) if "loss" in row]
    assert losses
    assert np.isfinite(losses).all()


def test_anchors_thresholds_and_samples_follow_the_labels(own_root, monkeypatch):
    monkeypatch.setenv("KITTI_ROOT", str(own_root))
    for name in ("second_own", "second_own_small"):
        config = Config.fromfile(CONFIGS / "second" / f"{name}.py")
        anchors = config.model.bbox_head.anchor_generator
        assert anchors.sizes == [[0.6, 0.7, 1.8], [4.0, 1.8, 1.5]]
        assert [(box[2], box[5]) for box in anchors.ranges] == [(-1.7, -1.7)] * 2
        assert [assigner.pos_iou_thr for assigner in config.model.train_cfg.assigner] == [0.35, 0.6]
        (sampler,) = [step.db_sampler for step in config.train_pipeline if "db_sampler" in step]
        assert set(sampler.sample_groups) == set(sampler.prepare.filter_by_min_points) == {"person", "car"}
        layer, encoder = config.model.data_preprocessor.voxel_layer, config.model.middle_encoder
        x_min, y_min, z_min, x_max, y_max, z_max = layer.point_cloud_range
        cells = np.round(np.array([z_max - z_min, y_max - y_min, x_max - x_min]) / layer.voxel_size[::-1]).astype(int)
        assert encoder.sparse_shape == [cells[0] + 1, *cells[1:]]


def test_the_data_set_gives_the_labelled_boxes_and_whole_scans(own_root):
    init_default_scope("mmdet3d")
    prefix = {"pts": "training/velodyne"}
    dataset = LidarDataset(
        str(own_root), "kitti_infos_trainval.pkl", {"classes": ["car"]}, data_prefix=prefix, pipeline=[]
    )
    _, boxes = read_labelled_scans(own_root)
    for index, wanted in ((0, boxes[0][:1]), (2, boxes[2])):
        data = dataset.get_data_info(index)
        found = data["ann_info"]["gt_bboxes_3d"].tensor.numpy()[data["ann_info"]["gt_labels_3d"] == 0]
        np.testing.assert_allclose(found[:, :6], wanted[:, :6], atol=1e-5)
        np.testing.assert_allclose(np.cos(found[:, 6] - wanted[:, 6]), 1, atol=1e-6)
        assert Path(data["lidar_path"]).is_file()


def evaluate_boxes(metric: DistanceAP, files: list[Path], boxes: list[np.ndarray]) -> dict[str, float]:
    """AP of a detector that finds these boxes; a person is higher than 1.7 m."""
    for path, own in zip(files, boxes, strict=True):
        instances = {
            "bboxes_3d": LiDARInstance3DBoxes(torch.tensor(own, dtype=torch.float32).reshape(-1, 7)),
            "labels_3d": torch.tensor([0 if height > 1.7 else 1 for height in own[:, 5]], dtype=torch.long),
            "scores_3d": torch.full((len(own),), 0.9),
        }
        metric.process({}, [{"lidar_path": str(path), "pred_instances_3d": instances}])
    return metric.evaluate(len(files))


def test_the_metric_finds_boxes_all_around(own_root):
    metric = DistanceAP(str(own_root), "kitti_infos_trainval.pkl", min_overlap={"car": 0.6}, bands_m=(0, 11, 30))
    metric.dataset_meta = {"classes": ["person", "car"]}
    files, boxes = read_labelled_scans(own_root)
    values = evaluate_boxes(metric, files, boxes)
    for name in ("car/3d/R40/all", "car/bev/R40/0-11m", "car/3d/R40/11-30m", "person/3d/R11/0-11m", "mean/3d/R40/all"):
        assert values[f"lidar/{name}"] == pytest.approx(100)
    assert "lidar/person/3d/R40/11-30m" not in values
    on_page = measure(metric.compared)
    assert {name: found.ap_percent for name, found in on_page.items()} == pytest.approx({"person": 100, "car": 100})
    bands = {(band.near_m, band.far_m): band for band in on_page["car"].by_distance}
    assert list(bands) == [(0, 11), (11, 30), (30, np.inf)]
    assert bands[0, 11].ap_percent == bands[11, 30].ap_percent == pytest.approx(100)
    assert sum(band.num_objects for band in bands.values()) == sum((own[:, 5] <= 1.7).sum() for own in boxes)


def test_the_command_counts_the_objects_that_the_test_of_a_config_counts(own_root, tmp_path, capsys):
    """A car at x = -12 m, behind what the detector sees, was missed on the command line and left out by the test."""
    range_m = [-10.0, -40.0, -3.0, 40.0, 40.0, 1.0]
    metric = DistanceAP(
        str(own_root), "kitti_infos_trainval.pkl", point_cloud_range=range_m, result_dir=str(tmp_path / "out")
    )
    metric.dataset_meta = {"classes": ["person", "car"]}
    files, boxes = read_labelled_scans(own_root)
    values = evaluate_boxes(metric, files, [own[own[:, 0] > range_m[0]] for own in boxes])
    assert values["lidar/car/3d/R40/all"] == pytest.approx(100)
    command = ["evaluate", str(own_root / "training/label_2"), str(tmp_path / "out"), "--bands", "0", "30", "50"]
    found = {}
    for name, options in {"whole": [], "range": ["--range", *map(str, range_m)]}.items():
        assert main([*command, *options, "--json", str(tmp_path / f"{name}.json")]) == 0
        found[name] = json.loads((tmp_path / f"{name}.json").read_text())["car"]["3d"]["R40"][0]
    assert found == {"whole": pytest.approx(50), "range": pytest.approx(100)}
    note = "objects: those with x from -10 to 40 m and y from -40 to 40 m; others count neither as found nor as missed"
    said = capsys.readouterr()
    assert (said.out + said.err).count(note) == 2, "of the test and of the command with --range"


def test_configs_and_data_that_do_not_fit_are_refused_before_the_model_is_built(own_root, monkeypatch, tmp_path):
    monkeypatch.setenv("KITTI_ROOT", str(own_root))
    with pytest.raises(ValueError, match="is of scans without a camera, but this config cuts scans to the image"):
        running.train("second_kitti-car_small", work_dir=str(tmp_path / "work"))
    with pytest.raises(ValueError, match=r"without a camera.*evaluate them with lidar_rank\.DistanceAP"):
        KittiAP(str(own_root))
    dataset = {"type": "lidar_rank.LidarDataset", "data_root": str(own_root), "ann_file": "kitti_infos_val.pkl"}
    with pytest.raises(ValueError, match="has no class 'tree', only person, car"):
        check_annotations({**dataset, "metainfo": {"classes": ["tree"]}})
    with pytest.raises(ValueError, match="the edges of bands must be metres"):
        DistanceAP(str(own_root), bands_m=(30, 0))
    export_without_val = tmp_path / "without val"
    write_openpcdet(tmp_path / "export", example())
    import_data(tmp_path / "export", export_without_val, source_format="openpcdet", progress=False, val=0)
    prepare_kitti(export_without_val, progress=False)
    monkeypatch.setenv("KITTI_ROOT", str(export_without_val))
    with pytest.raises(
        FileNotFoundError, match=r"The root has no such frames: list some in .*ImageSets/val\.txt, then"
    ):
        running.train("second_own_small", work_dir=str(tmp_path / "work"))
    monkeypatch.setenv("KITTI_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="prepare the root with 'lidar-rank create-data"):
        running.train("second_own_small", work_dir=str(tmp_path / "work"))


def test_another_split_is_tested_without_a_camera(own_root, monkeypatch):
    monkeypatch.setenv("KITTI_ROOT", str(own_root))
    config = Config.fromfile(CONFIGS / "second" / "second_own_small.py")
    use_split(config, "train", None)
    assert config.test_dataloader.dataset.ann_file == config.test_evaluator.ann_file == "kitti_infos_train.pkl"
    assert config.test_dataloader.dataset.data_prefix.pts == "training/velodyne"


def test_infos_are_plain_values(own_root):
    content = pickle.loads((own_root / "kitti_infos_train.pkl").read_bytes())
    assert content["metainfo"]["categories"] == {"person": 0, "car": 1, "DontCare": -1}
    assert set(content["data_list"][0]["images"]) == {"CAM2", "R0_rect"}
