"""The classes of a root: those that it lists, or KITTI's; and the statistics that configs take anchors from."""

import pickle
from pathlib import Path

import pytest

from lidar_rank.kitti import prepare_kitti
from lidar_rank.kitti.classes import KITTI_CLASSES, read_classes, read_statistics
from tests.kitti.roots import CALIBRATION, CAR, IMAGE_SIZE, make_root, write

FORKLIFT = CAR.replace("Car", "forklift")


def prepare(root: Path, **options):
    return prepare_kitti(root, **{"image_size": IMAGE_SIZE, "progress": False, **options})


def remove_camera(path: Path) -> None:
    path.write_text("".join(line for line in CALIBRATION.splitlines(keepends=True) if not line.startswith("P")))


def test_a_root_without_a_list_has_the_classes_of_kitti(tmp_path):
    summary = prepare(make_root(tmp_path))
    assert read_classes(tmp_path) == KITTI_CLASSES
    assert summary.has_camera
    assert {name: found.objects for name, found in summary.classes.items()} == {"Car": 3, "Van": 1}
    assert read_statistics(tmp_path) == summary.classes
    assert summary.classes["Van"].size_m == (5.0, 1.9, 2.2)
    assert summary.classes["Car"].z_bottom_m == pytest.approx(-1.08)


def test_a_root_lists_its_own_classes(tmp_path):
    make_root(tmp_path)
    write(tmp_path / "classes.txt", "forklift\nCar\n\n")
    write(tmp_path / "training/label_2/000000.txt", f"{FORKLIFT}\n{CAR}\n")
    summary = prepare(tmp_path)
    assert summary.ignored == {"Van": 1}
    assert list(summary.classes) == ["forklift", "Car"]
    infos = pickle.loads((tmp_path / "kitti_infos_train.pkl").read_bytes())
    assert infos["metainfo"]["categories"] == {"forklift": 0, "Car": 1, "DontCare": -1}
    assert [each["bbox_label_3d"] for each in infos["data_list"][0]["instances"]] == [0, 1]
    assert (tmp_path / "kitti_gt_database/0_forklift_0.bin").is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no class"),
        ("fork lift\n", "'fork lift' cannot be a class, which is one word"),
        ("../car\n", "'../car' cannot be a class"),
        ("Car\ndontcare\n", "'dontcare' cannot be a class"),
        ("Car\ncar\n", "'Car' and 'car' are the same up to upper and lower case"),
    ],
)
def test_lists_that_cannot_be_classes_are_refused(text, message, tmp_path):
    write(tmp_path / "classes.txt", text)
    with pytest.raises(ValueError, match=f"classes.txt.*{message}"):
        read_classes(tmp_path)


def test_roots_that_mix_scans_with_and_without_camera_are_refused(tmp_path):
    make_root(tmp_path)
    remove_camera(tmp_path / "training/calib/000001.txt")
    with pytest.raises(
        ValueError, match=r"mixes scans with and without a camera: .* has P0 to P3, .*000001.txt has not"
    ):
        prepare(tmp_path)
    assert not list(tmp_path.glob("*.pkl"))


def test_statistics_of_another_preparation_do_not_stay(tmp_path):
    prepare(make_root(tmp_path))
    write(tmp_path / "classes.txt", "Tram\n")
    assert prepare(tmp_path).classes == {}
    with pytest.raises(FileNotFoundError, match="prepare the root with 'lidar-rank create-data"):
        read_statistics(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"Car": {}}', '{"Car": {"objects": 1, "size_m": [1, 2, 0], "z_bottom_m": 0}}']
)
def test_damaged_statistics_are_named(content, tmp_path):
    write(tmp_path / "kitti_classes.json", content)
    with pytest.raises(ValueError, match=r"kitti_classes.json is damaged .*: run 'lidar-rank create-data"):
        read_statistics(tmp_path)
