"""KITTI's images as a data set of the host, and what bad images and labels lead to."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from lidar_rank.evaluation import evaluate_kitti
from lidar_rank.kitti import read_kitti_labels
from lidar_rank.mm.datasets import KittiImageDataset

from .conftest import CONFIGS
from .images import kitti_root as make_kitti_root
from .images import label_line, voc_root

PIPELINE = Config.fromfile(CONFIGS / "_base_" / "data" / "kitti_image.py").train_pipeline


def entries(root: Path, **options) -> list[dict]:
    dataset = KittiImageDataset(data_root=str(root), ann_file="ImageSets/train.txt", **options)
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def test_objects_of_the_hard_level_count_and_others_are_ignored(tmp_path):
    lines = [
        label_line("Car", 100, 60, 160, 90),
        label_line("Car", 100, 60, 160, 84),  # 24 px high
        label_line("Car", 10, 60, 70, 90, occlusion=3),
        label_line("Car", 10, 60, 70, 90, truncation=0.6),
        label_line("Van", 10, 60, 70, 90),
        label_line("Person_sitting", 10, 50, 30, 90),
        label_line("Pedestrian", 40, 50, 60, 90),
        label_line("Truck", 10, 10, 70, 90),
        label_line("DontCare", 180, 5, 199, 30),
    ]
    root = make_kitti_root(tmp_path, {"000003": lines})
    (entry,) = entries(root)
    assert (entry["width"], entry["height"], entry["img_id"]) == (200, 100, "000003")
    assert entry["img_path"] == str(root / "training/image_2/000003.png")
    seen = [(instance["bbox_label"], instance["ignore_flag"], instance["bbox"][0]) for instance in entry["instances"]]
    assert sorted(seen) == sorted(
        [(0, 0, 100), (0, 1, 100), (0, 1, 10), (0, 1, 10), (0, 1, 10), (1, 1, 10), (1, 0, 40)]
        + [(label, 1, 180) for label in range(3)]
    )


def test_dont_care_regions_are_neither_trained_nor_counted(tmp_path):
    init_default_scope("mmdet")
    lines = [label_line("Car", 20, 50, 60, 80), label_line("DontCare", 120, 20, 180, 60)]
    root = make_kitti_root(tmp_path, {"000000": lines})
    unflipped = [step for step in PIPELINE if step.type != "RandomFlip"]
    dataset = KittiImageDataset(data_root=str(root), ann_file="ImageSets/train.txt", pipeline=unflipped)
    sample = dataset[0]["data_samples"]
    assert len(sample.gt_instances) == 1
    assert len(sample.ignored_instances) == 3
    last_corners = (sample.ignored_instances.bboxes.tensor[0, 2:], sample.gt_instances.bboxes.tensor[0, 2:])
    np.testing.assert_allclose(last_corners[0] / last_corners[1], [180 / 60, 60 / 80], rtol=1e-5)

    metric = CocoMetric()
    metric.dataset_meta = dataset.metainfo
    info = dataset.get_data_info(0)
    boxes = np.array([[20, 50, 60, 80], [125, 25, 170, 55]], dtype=np.float32)
    prediction = {"bboxes": boxes, "scores": np.array([0.5, 0.9]), "labels": np.array([0, 0])}
    truth = {"width": 200, "height": 100, "img_id": "000000", "anns": info["instances"]}
    values = metric.compute_metrics([(truth, {"img_id": "000000", **prediction})])
    assert values["bbox_mAP"] == 1.0, "the higher score lies in a DontCare region"


def test_other_classes_may_be_named(tmp_path):
    root = make_kitti_root(
        tmp_path, {"000000": [label_line("Truck", 10, 10, 70, 90), label_line("Car", 20, 50, 60, 80)]}
    )
    (entry,) = entries(root, metainfo={"classes": ("Truck",)})
    assert [instance["bbox_label"] for instance in entry["instances"]] == [0]


def test_missing_files_are_named(tmp_path):
    root = make_kitti_root(tmp_path, {"000000": [], "000001": []})
    (root / "training/image_2/000001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"no image .*000001\.png: this data set needs image_2"):
        entries(root)
    (root / "training/label_2/000000.txt").unlink()
    with pytest.raises(FileNotFoundError, match="label_2"):
        entries(root)


def test_grey_image_is_read_as_colour_and_a_broken_one_is_named(tmp_path):
    init_default_scope("mmdet")
    root = make_kitti_root(tmp_path, {"000000": [label_line("Car", 20, 50, 60, 80)]})
    path = root / "training/image_2/000000.png"
    Image.fromarray(np.full((100, 200), 90, np.uint8)).save(path)
    dataset = KittiImageDataset(data_root=str(root), ann_file="ImageSets/train.txt", pipeline=PIPELINE)
    assert dataset[0]["inputs"].shape[0] == 3
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(AssertionError, match=r"failed to load image: .*000000\.png"):
        dataset[0]


def test_classes_that_the_config_does_not_name_and_boxes_outside_are_left_out(tmp_path, monkeypatch):
    """As the host does: an unknown name is skipped, a box is cut at the image's edge, one without area is dropped."""
    from mmdet.registry import DATASETS

    init_default_scope("mmdet")
    objects = [("RBC", 10, 10, 60, 60), ("Moon", 10, 10, 60, 60), ("WBC", 90, 50, 190, 110), ("RBC", 210, 20, 260, 60)]
    monkeypatch.setenv("BCCD_ROOT", str(voc_root(tmp_path, {"a": objects})))
    config = Config.fromfile(CONFIGS / "_base_" / "data" / "bccd.py").train_dataloader.dataset
    sample = DATASETS.build(config)[0]["data_samples"]
    assert sorted(sample.gt_instances.labels.tolist()) == [0, 1]
    height, width = sample.img_shape
    boxes = sample.gt_instances.bboxes.tensor
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= width).all()
    assert (boxes[:, 3] <= height).all()


@pytest.mark.real
def test_real_frames_have_the_objects_that_the_evaluation_counts(kitti_root):
    counted = Counter(
        instance["bbox_label"]
        for entry in entries(kitti_root)
        for instance in entry["instances"]
        if not instance["ignore_flag"]
    )
    frames = (kitti_root / "ImageSets" / "train.txt").read_text().split()
    labels = read_kitti_labels(kitti_root / "training/label_2", frames)
    result = evaluate_kitti(labels, replace(labels, score=np.ones(len(labels))))
    for label, class_name in enumerate(KittiImageDataset.METAINFO["classes"]):
        assert counted[label] == result.curves[class_name]["bbox"][-1].num_objects > 5
