"""Preparation against the official reduced clouds and database, and through kills, changes and bad input."""

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lidar_rank.cli import main
from lidar_rank.kitti import preparation
from lidar_rank.kitti.files import temporary_path
from lidar_rank.kitti.preparation import prepare_kitti
from tests.kitti.roots import (
    CAR,
    FAR_CAR,
    IMAGE_SIZE,
    VAN,
    add_test_split,
    link_real_root,
    make_root,
    outputs,
    png_header,
    write,
)


def prepare(root: Path, **options):
    """One quiet thread, an image size."""
    return prepare_kitti(root, **{"image_size": IMAGE_SIZE, "jobs": 1, "progress": False, **options})


def load(path: Path):
    return pickle.loads(path.read_bytes())


@pytest.fixture(scope="module")
def real_root(kitti_root, tmp_path_factory):
    """The 83 real frames, prepared."""
    root = link_real_root(kitti_root, tmp_path_factory.mktemp("real") / "kitti")
    prepare_kitti(root, jobs=2, progress=False)
    return root


@pytest.fixture
def root(tmp_path):
    """Four made frames, not prepared."""
    return make_root(tmp_path / "kitti")


@pytest.mark.real
def test_reduced_clouds_are_the_official_ones(real_root, kitti_root):
    expected = json.loads((kitti_root / "oracle" / "velodyne_reduced_sha256.json").read_text())
    assert len(expected) == 83
    assert {path: hashlib.sha256((real_root / path).read_bytes()).hexdigest() for path in expected} == expected


@pytest.mark.real
def test_database_has_the_official_points_per_object(real_root, kitti_root):
    official = json.loads((kitti_root / "oracle" / "gt_database_npoints.json").read_text())
    train = {str(int(line)) for line in (kitti_root / "ImageSets" / "train.txt").read_text().split()}
    expected = {key: count for key, count in official.items() if key.split("_")[0] in train}
    entries = [entry for entries in load(real_root / "kitti_dbinfos_train.pkl").values() for entry in entries]
    assert len(expected) > 250
    assert {Path(entry["path"]).stem: entry["num_points_in_gt"] for entry in entries} == expected
    for entry in entries:
        assert (real_root / entry["path"]).stat().st_size == 16 * entry["num_points_in_gt"]


@pytest.mark.real
def test_infos_say_what_the_label_files_say(real_root):
    for info in load(real_root / "kitti_infos_trainval.pkl")["data_list"]:
        lines = (real_root / "training" / "label_2" / f"{info['sample_idx']:06d}.txt").read_text().splitlines()
        for line, instance in zip(lines, info["instances"], strict=True):
            name, *columns = line.split()
            truncated, occluded, alpha, left, top, right, bottom, height, width, length, x, y, z, yaw = map(
                float, columns
            )
            assert instance["bbox"] == [left, top, right, bottom]
            assert instance["bbox_3d"] == [x, y, z, length, height, width, yaw]
            assert (instance["truncated"], instance["occluded"], instance["alpha"]) == (truncated, occluded, alpha)
            host_classes = ["Pedestrian", "Cyclist", "Car", "Van", "Truck", "Person_sitting", "Tram", "Misc"]
            assert instance["bbox_label_3d"] == (-1 if name == "DontCare" else host_classes.index(name))


@pytest.mark.real
def test_infos_hold_the_calibration_and_the_projected_centres(real_root):
    for info in load(real_root / "kitti_infos_val.pkl")["data_list"]:
        lines = (real_root / "training" / "calib" / f"{info['sample_idx']:06d}.txt").read_text().splitlines()
        given = {line.split(":")[0]: np.array(line.split()[1:], dtype=float) for line in lines if line}
        rectification, to_reference = np.eye(4), np.eye(4)
        rectification[:3, :3] = given["R0_rect"].reshape(3, 3)
        to_reference[:3] = given["Tr_velo_to_cam"].reshape(3, 4)
        images, lidar = info["images"], info["lidar_points"]
        np.testing.assert_array_equal(images["R0_rect"], rectification)
        np.testing.assert_array_equal(lidar["Tr_velo_to_cam"], to_reference)
        np.testing.assert_array_equal(np.ravel(lidar["Tr_imu_to_velo"])[:12], given["Tr_imu_to_velo"])
        np.testing.assert_allclose(images["CAM2"]["lidar2cam"], rectification @ to_reference, atol=1e-12)
        for camera in range(4):
            projection = given[f"P{camera}"].reshape(3, 4)
            np.testing.assert_array_equal(images[f"CAM{camera}"]["cam2img"], [*projection, (0, 0, 0, 1)])
            lidar_to_image = np.array(images[f"CAM{camera}"]["lidar2img"])
            np.testing.assert_allclose(lidar_to_image[:3], projection @ rectification @ to_reference, atol=1e-9)
        for instance in info["instances"]:
            x, y, z, _, height, _, _ = instance["bbox_3d"]
            u, v, depth = given["P2"].reshape(3, 4) @ [x, y - height / 2, z, 1]
            np.testing.assert_allclose([*instance["center_2d"], instance["depth"]], [u / depth, v / depth, depth])


def test_cut_out_points_are_those_in_the_box_seen_from_its_bottom(root):
    prepare(root)
    checked = 0
    for entry in (entry for entries in load(root / "kitti_dbinfos_train.pkl").values() for entry in entries):
        points = np.fromfile(root / entry["path"], np.float32).reshape(-1, 4)
        length, width, height, yaw = entry["box3d_lidar"][3:]
        turned = points[:, :2] @ np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        assert (np.abs(turned) <= [length / 2, width / 2]).all()
        assert ((points[:, 2] >= 0) & (points[:, 2] <= height)).all()
        scan = np.fromfile(root / f"training/velodyne/{entry['image_idx']:06d}.bin", np.float32).reshape(-1, 4)
        moved_back = points + np.append(entry["box3d_lidar"][:3], 0)
        distance = np.abs(scan[:, None] - moved_back).max(axis=2).min(axis=0)
        assert (distance < 1e-5).all()
        checked += len(points)
    assert checked > 10


def test_objects_are_numbered_without_dontcare(root):
    prepare(root)
    database = load(root / "kitti_dbinfos_train.pkl")
    assert {
        name: [(e["image_idx"], e["gt_idx"], e["group_id"], e["difficulty"]) for e in es]
        for name, es in database.items()
    } == {
        "Car": [(0, 0, 0, 0), (0, 1, 1, 2), (2, 1, 3, 0)],
        "Van": [(2, 0, 2, 1)],
    }
    assert sorted(path.name for path in (root / "kitti_gt_database").iterdir()) == [
        "0_Car_0.bin", "0_Car_1.bin", "2_Car_1.bin", "2_Van_0.bin",
    ]  # fmt: skip
    instances = load(root / "kitti_infos_train.pkl")["data_list"][2]["instances"]
    assert [instance["index"] for instance in instances] == [-1, 0, 1]
    assert [instance["num_lidar_pts"] < 0 for instance in instances] == [True, False, False]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0),
        ({"bottom": "190.00"}, 1),  # 40 px high: easy needs more
        ({"truncation": "0.15"}, 0),
        ({"truncation": "0.16"}, 1),
        ({"occlusion": "1"}, 1),
        ({"truncation": "0.30", "occlusion": "1"}, 1),
        ({"truncation": "0.31"}, 2),
        ({"occlusion": "2"}, 2),
        ({"truncation": "0.51"}, -1),
        ({"occlusion": "3"}, -1),
        ({"bottom": "175.00"}, -1),  # 25 px high: moderate and hard need more
    ],
)
def test_difficulty_follows_the_limits_of_the_benchmark(root, changes, expected):
    columns = {
        "truncation": "0.00",
        "occlusion": "0",
        "alpha": "0",
        "left": "0",
        "top": "150.00",
        "right": "9",
        "bottom": "191.00",
    }
    line = " ".join(["Car", *(columns | changes).values(), *CAR.split()[8:]])
    write(root / "training" / "label_2" / "000000.txt", line + "\n")
    prepare(root)
    assert load(root / "kitti_infos_train.pkl")["data_list"][0]["instances"][0]["difficulty"] == expected


def test_frames_without_objects_and_with_dontcare_only(root):
    assert prepare(root).frames == {"train": 3, "val": 1, "trainval": 4}
    train, val = (load(root / f"kitti_infos_{split}.pkl")["data_list"] for split in ("train", "val"))
    assert train[1]["instances"] == []
    assert [instance["bbox_label"] for instance in val[0]["instances"]] == [-1]


def test_frames_that_are_trained_on_and_tested_on_are_counted(root, capsys):
    assert prepare(root).in_train_and_val == 0
    (root / "ImageSets" / "val.txt").write_text("000003\n000001\n")
    assert main(["create-data", str(root), "--image-size", "1242", "375"]) == 0
    assert "in train and in val: 1, whose AP says nothing of new scans\n" in capsys.readouterr().out


def test_test_frames_are_reduced_and_have_no_instances(root):
    add_test_split(root)
    assert prepare(root).frames["test"] == 1
    (info,) = load(root / "kitti_infos_test.pkl")["data_list"]
    assert info["instances"] == []
    reduced, train = (
        np.fromfile(root / folder / "velodyne_reduced" / "000000.bin", np.float32).reshape(-1, 4)
        for folder in ("testing", "training")
    )
    assert 0 < len(reduced) < 500
    assert len(reduced) != len(train)


def test_a_root_with_val_alone_is_prepared_without_an_object_database(root):
    prepare(root)
    (root / "ImageSets" / "train.txt").unlink()
    summary = prepare(root)
    assert (summary.frames, summary.database) == ({"val": 1}, {})
    assert sorted(path.name for path in root.glob("*.pkl")) == ["kitti_infos_val.pkl"], "nothing stale is left"
    assert [info["sample_idx"] for info in load(root / "kitti_infos_val.pkl")["data_list"]] == [3]


def test_a_root_with_test_frames_alone_is_prepared(tmp_path):
    add_test_split(tmp_path)
    assert prepare(tmp_path).frames == {"test": 1}
    assert list(outputs(tmp_path)) == ["kitti_infos_test.pkl", "testing/velodyne_reduced/000000.bin"]


def test_infos_of_a_split_that_is_gone_are_deleted(root):
    prepare(root)
    (root / "ImageSets" / "val.txt").unlink()
    assert prepare(root).prepared == 0
    assert not (root / "kitti_infos_val.pkl").exists()
    assert (root / "kitti_dbinfos_train.pkl").exists()


@pytest.mark.parametrize("line", [b"\xff\xfe\n", b"7\n", b"[1, 2]\n", b'["training/000003", {"inputs": []}]\n'])
def test_damaged_lines_of_the_journal_are_forgotten(root, line):
    prepare(root)
    expected = outputs(root)
    journal = root / preparation.JOURNAL_NAME
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:2]) + line)
    assert prepare(root).prepared == 2
    assert outputs(root) == expected


def test_image_size_comes_from_the_image_where_there_is_one(tmp_path):
    root = make_root(tmp_path, images=True)
    prepare(root, image_size=None)
    of_images = outputs(root)
    write(root / "training" / "image_2" / "000000.png", png_header(600, 360))
    prepare(root, image_size=(10, 10))
    narrow = outputs(root)
    assert {path for path in of_images if of_images[path] != narrow[path]} >= {"training/velodyne_reduced/000000.bin"}
    assert of_images["training/velodyne_reduced/000001.bin"] == narrow["training/velodyne_reduced/000001.bin"]
    infos = load(root / "kitti_infos_train.pkl")["data_list"]
    assert [(info["images"]["CAM2"]["width"], info["images"]["CAM2"]["height"]) for info in infos] == [
        (600, 360), IMAGE_SIZE, IMAGE_SIZE,
    ]  # fmt: skip


def test_objects_that_the_host_does_not_know_are_counted_and_left_out(root):
    with (root / "training" / "label_2" / "000000.txt").open("a") as file:
        file.write(CAR.replace("Car", "Bus") + "\n" + VAN.replace("Van", "Bus") + "\n")
    summary = prepare(root)
    assert summary.ignored == {"Bus": 2}
    assert summary.database == {"Car": 3, "Van": 1}
    assert len(load(root / "kitti_infos_train.pkl")["data_list"][0]["instances"]) == 3


def test_a_second_run_keeps_everything(root):
    first = prepare(root)
    times = {path: (root / path).stat().st_mtime_ns for path in outputs(root) if path.endswith(".bin")}
    second = prepare(root)
    assert (first.prepared, first.kept, second.prepared, second.kept) == (4, 0, 0, 4)
    assert {path: (root / path).stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize(
    "damage",
    [
        "training/velodyne_reduced/000002.bin",
        "kitti_gt_database/2_Van_0.bin",
        "kitti_preparation.jsonl",
    ],
)
@pytest.mark.parametrize("action", ["delete", "cut"])
def test_damaged_outputs_are_made_again(root, damage, action):
    prepare(root)
    expected = outputs(root)
    if action == "delete":
        (root / damage).unlink()
    else:
        os.truncate(root / damage, (root / damage).stat().st_size - 3)
    summary = prepare(root)
    assert summary.prepared == (4 if (damage, action) == ("kitti_preparation.jsonl", "delete") else 1)
    assert outputs(root) == expected


def change_label(root: Path) -> None:
    write(root / "training" / "label_2" / "000000.txt", f"{FAR_CAR}\n")


def change_points(root: Path) -> None:
    write(root / "training" / "velodyne" / "000000.bin", np.full((3, 4), 9, np.float32).tobytes())


def change_calibration(root: Path) -> None:
    path = root / "training" / "calib" / "000000.txt"
    write(path, path.read_text().replace("-0.27", "-0.17"))


def move_to_val(root: Path) -> None:
    write(root / "ImageSets" / "train.txt", "000001\n000002\n")
    write(root / "ImageSets" / "val.txt", "000000\n000003\n")


@pytest.mark.parametrize("change", [change_label, change_points, change_calibration, move_to_val])
def test_changed_inputs_are_prepared_again(root, tmp_path, change):
    prepare(root)
    change(root)
    assert prepare(root).prepared == 1
    fresh = make_root(tmp_path / "fresh")
    change(fresh)
    prepare(fresh)
    current, expected = outputs(root), outputs(fresh)
    assert {path: current[path] for path in expected} == expected


def test_another_image_size_is_prepared_again(root, tmp_path):
    prepare(root)
    assert prepare(root, image_size=(600, 360)).prepared == 4
    fresh = make_root(tmp_path / "fresh")
    prepare(fresh, image_size=(600, 360))
    assert outputs(root) == outputs(fresh)


def test_jobs_do_not_change_the_outputs(root, tmp_path):
    prepare(root, jobs=3)
    fresh = make_root(tmp_path / "fresh")
    prepare(fresh, jobs=1)
    assert outputs(root) == outputs(fresh)


KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from lidar_rank.kitti.files import temporary_path
from lidar_rank.kitti.preparation import prepare_kitti

rename, renames_left = Path.replace, int(sys.argv[2])

def rename_or_die(self, target):
    global renames_left
    if renames_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    renames_left -= 1
    return rename(self, target)

Path.replace = rename_or_die
prepare_kitti(Path(sys.argv[1]), image_size=(600, 360), jobs=1, progress=False)
"""


# The run renames the journal, then nine outputs of four frames, then the infos.
@pytest.mark.parametrize("renames", [0, 1, 3, 6, 9, 11])
def test_a_killed_run_is_taken_up_or_undone(root, tmp_path, renames):
    prepare(root)
    killed = subprocess.run([sys.executable, "-c", KILLED_RUN, str(root), str(renames)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert any(path.endswith(".tmp") for path in outputs(root))
    if 1 <= renames <= 9:
        assert not list(root.glob("*.pkl"))
    copy, fresh = shutil.copytree(root, tmp_path / "copy"), make_root(tmp_path / "fresh")
    for resumed, image_size in ((root, (600, 360)), (copy, IMAGE_SIZE)):
        prepare(resumed, image_size=image_size)
        prepare(fresh, image_size=image_size)
        assert outputs(resumed) == outputs(fresh)


def test_a_full_disk_is_named_and_later_taken_up(root, monkeypatch):
    def fill_disk(folder):
        if folder.name == "velodyne_reduced":
            # The system's device that is always full stands in for the temporary file.
            temporary_path(folder / "000001.bin").symlink_to("/dev/full")

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "remove_temporary_files", fill_disk)
        full = re.escape(str(root / "training" / "velodyne_reduced" / "000001.bin"))
        with pytest.raises(OSError, match=f"No space left on device: '{full}'"):
            prepare(root)
    assert not list(root.rglob("*.tmp"))
    assert not list(root.glob("*.pkl"))
    summary = prepare(root)
    assert (summary.kept, summary.prepared) == (1, 3)


def test_a_full_disk_under_the_journal_is_named(root, monkeypatch):
    journal = root / preparation.JOURNAL_NAME
    monkeypatch.setattr(preparation._Journal, "keep", lambda self, _: self.path.symlink_to("/dev/full"))
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{journal}'")):
        prepare(root)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("training/velodyne/000003.bin", b"12345", "000003.bin: 5 bytes are not a multiple of 16"),
        ("training/calib/000003.txt", "P2: 1 2 3\n", "000003.txt:1: P2 has 3 values, expected 12"),
        ("training/label_2/000003.txt", f"{CAR}\nCar 0 0\n", "000003.txt:2: expected 15 or 16 columns"),
        ("training/label_2/000003.txt", CAR.replace("3.90", "-1"), "000003.txt: height, width, length of a Car are"),
        ("training/image_2/000003.png", b"JFIF", "000003.png: not a PNG image"),
        ("ImageSets/val.txt", "000003\n000009\n", "val.txt names 1 of 2 frames that have no file"),
    ],
)
def test_bad_files_are_named_before_anything_is_written(root, path, content, message):
    write(root / path, content)
    before = outputs(root)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare(root)
    assert outputs(root) == before
    assert not (root / preparation.JOURNAL_NAME).exists()


def test_a_scan_with_nan_is_named_and_the_frames_before_it_are_kept(root):
    points = np.zeros((4, 4), np.float32)
    good = (root / "training" / "velodyne" / "000002.bin").read_bytes()
    points[3, 1] = np.nan
    write(root / "training" / "velodyne" / "000002.bin", points.tobytes())
    with pytest.raises(ValueError, match=r"training/velodyne/000002.bin: point 3 \(byte 48\) is not finite"):
        prepare(root)
    assert not list(root.glob("*.pkl"))
    write(root / "training" / "velodyne" / "000002.bin", good)
    assert prepare(root).kept == 2


def test_a_root_without_images_asks_for_their_size(root):
    with pytest.raises(FileNotFoundError, match=r"no image .*image_2/000000\.png: give its .* --image-size 1242 375"):
        prepare(root, image_size=None)


@pytest.mark.parametrize("options", [{"jobs": 0}, {"image_size": (1242, 0)}])
def test_options_out_of_range_are_named(root, options):
    with pytest.raises(ValueError, match=f"must be at least 1, got.*{next(iter(options))}="):
        prepare(root, **options)


def test_progress_counts_all_frames_and_can_be_switched_off(root, capsys):
    prepare(root)
    assert capsys.readouterr() == ("", "")
    (root / "training" / "velodyne_reduced" / "000001.bin").unlink()
    prepare(root, progress=True)
    printed = capsys.readouterr().err
    assert "preparing:  75%" in printed  # three of the four frames are there
    assert "4/4" in printed


def test_datasets_import_without_torch_or_open3d():
    imports = "from lidar_rank.kitti import prepare_kitti; from lidar_rank.simulation import simulate_kitti"
    code = f"import sys; {imports}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "numpy" in loaded
    assert not {"torch", "open3d", "matplotlib"} & set(loaded)
