"""The evaluation in the host's loops: which folder's calibration and labels it takes, and what it names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import average_precision
from mmdet3d.structures import LiDARInstance3DBoxes

from lidar_rank.kitti import join_frames, prepare_kitti, read_calibration, read_kitti_results
from lidar_rank.mm.metrics import KittiAP
from lidar_rank.page import Results
from lidar_rank.page.measures import measure, measure_every_recall
from tests.kitti.roots import IMAGE_SIZE, add_test_split, make_root
from tests.page.cases import image_table

AHEAD = [10.0, 0.0, -1.08, 3.9, 1.6, 1.5, 0.0]  # the easy car of frame 000000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one test frame, whose number is that of a training frame and whose LiDAR stands elsewhere."""
    root = make_root(tmp_path / "kitti")
    add_test_split(root)
    path = root / "testing" / "calib" / "000000.txt"
    path.write_text(path.read_text().replace("-0.27", "-0.75"))
    prepare_kitti(root, image_size=IMAGE_SIZE, progress=False)
    return root


def prediction(lidar_path: Path | str, *boxes: list[float]) -> dict:
    """What the host hands to a metric."""
    return {
        "lidar_path": str(lidar_path),
        "pred_instances_3d": {
            "bboxes_3d": LiDARInstance3DBoxes(torch.tensor(boxes).reshape(-1, 7)),
            "labels_3d": torch.zeros(len(boxes), dtype=torch.long),
            "scores_3d": torch.linspace(0.9, 0.5, len(boxes)),
        },
    }


def evaluate(metric: KittiAP, *samples: dict) -> dict[str, float]:
    metric.dataset_meta = {"classes": ["Car"]}
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_frames_of_the_test_split_are_written_with_their_own_calibration_and_have_no_ap(root, tmp_path):
    """They were converted with the calibration of the training frame of that number, and compared with its labels."""
    metric = KittiAP(str(root), "kitti_infos_test.pkl", result_dir=str(tmp_path / "out"))
    assert evaluate(metric, prediction(root / "testing/velodyne_reduced/000000.bin", AHEAD)) == {}
    written = read_kitti_results(tmp_path / "out", ["000000"])
    own, other = (read_calibration(root / folder / "calib/000000.txt") for folder in ("testing", "training"))
    np.testing.assert_allclose(written.location_m, own.lidar_to_camera(np.array([AHEAD[:3]])), atol=1e-5)
    assert abs(written.location_m - other.lidar_to_camera(np.array([AHEAD[:3]]))).max() > 0.4


def test_training_frames_are_compared_with_their_labels(root):
    metric = KittiAP(str(root), "kitti_infos_train.pkl", sampling="recall", extra_overlaps=(0.5, 0.25))
    scans = root / "training" / "velodyne_reduced"
    values = evaluate(metric, prediction(scans / "000000.bin", AHEAD), prediction(scans / "000001.bin"))
    assert values["kitti/Car/3d/R40/easy"] == pytest.approx(100)
    assert {name.split("/")[2] for name in values} == {
        metric + suffix for metric in ("bbox", "bev", "3d", "aos") for suffix in ("", "@0.5", "@0.25")
    }


def test_overlaps_are_computed_once_for_all_thresholds(root, monkeypatch):
    from lidar_rank.evaluation import kitti

    calls = []
    compute = kitti.compute_overlaps
    monkeypatch.setattr(kitti, "compute_overlaps", lambda *tables: calls.append(1) or compute(*tables))
    metric = KittiAP(str(root), "kitti_infos_train.pkl", extra_overlaps=(0.5, 0.25))
    evaluate(metric, prediction(root / "training/velodyne_reduced/000000.bin", AHEAD))
    assert len(calls) == 1


def test_boxes_that_are_not_finite_end_no_training(root):
    metric = KittiAP(str(root), "kitti_infos_train.pkl", sampling="recall")
    wrong = [[*AHEAD[:3], float("inf"), 1.6, 1.5, 0.0], [float("nan"), *AHEAD[1:]], [*AHEAD[:5], 0.0, 0.0]]
    values = evaluate(metric, prediction(root / "training/velodyne_reduced/000000.bin", *wrong, AHEAD))
    assert values["kitti/Car/3d/R40/easy"] == pytest.approx(100)


def test_bad_annotation_files_are_named_before_anything_runs(root):
    with pytest.raises(FileNotFoundError, match="absent"):
        KittiAP(str(root), "absent.pkl")
    (root / "kitti_infos_val.pkl").write_bytes((root / "kitti_infos_val.pkl").read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"kitti_infos_val\.pkl: damaged, or not in the format of mmdet3d 1\.x"):
        KittiAP(str(root))


def test_annotation_file_of_another_set_is_named(root):
    metric = KittiAP(str(root), "kitti_infos_val.pkl")
    with pytest.raises(ValueError, match=r"kitti_infos_val\.pkl has no frame 000001: give KittiAP the ann_file"):
        evaluate(metric, prediction(root / "training/velodyne_reduced/000001.bin", AHEAD))


def test_ap_at_every_recall_is_that_of_the_host():
    rng = np.random.default_rng(0)
    names = [f"{number:06d}" for number in range(300)]
    is_found, scores = rng.random(len(names)) < 0.7, rng.random((len(names), 2))
    scores[is_found, 0] += 0.3 * rng.random(is_found.sum())
    scores = np.round(scores, 3)  # some are equal
    # In each image one box lies on the object, or beside it, and another lies elsewhere.
    true_boxes = [image_table(name, ["cell"], [[0, 0, 10, 10]], None) for name in names]
    found_boxes = [
        image_table(name, ["cell"] * 2, [[0, 0, 10, 10] if found else [30, 0, 40, 10], [20, 20, 30, 30]], list(pair))
        for name, found, pair in zip(names, is_found, scores, strict=True)
    ]
    files = tuple(Path(name) for name in names)
    tables = join_frames(true_boxes), join_frames(found_boxes)
    results = Results(files, False, False, {"cell": 0.5}, "official", *tables)

    is_true = np.stack([is_found, np.zeros(len(names), bool)], axis=1)
    thresholds = np.unique(scores)[::-1]
    true = np.array([(is_true & (scores >= threshold)).sum() for threshold in thresholds])
    positives = np.array([(scores >= threshold).sum() for threshold in thresholds])
    area = average_precision(true / len(names), true / positives, "area")
    assert measure_every_recall(results, "cell") == pytest.approx(100 * area, abs=1e-4)
    r40 = measure(results)["cell"].ap_percent
    assert r40 == pytest.approx(100 * area, abs=2.5)
    assert r40 != pytest.approx(100 * area, abs=0.05)
