"""The same scans from every tool are the same root; what is wrong with an export is one line that names the file."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from lidar_rank.importing import FORMATS, format_summary, import_data
from lidar_rank.kitti import prepare_kitti, read_calibration, read_kitti_labels
from lidar_rank.kitti.files import read_points
from lidar_rank.kitti.infos import read_database_infos, read_infos
from lidar_rank.kitti.labelled import read_labelled_scans
from lidar_rank.scans import SensorFrame
from tests.importing.examples import WRITERS, Labelled, example, write_openpcdet, write_sustech

NAMES = {"car": "Car", "walking person": "Pedestrian", "tree": "tree"}


@pytest.fixture(params=list(WRITERS))
def export(request, tmp_path: Path) -> tuple[str, Path]:
    source_format, write = WRITERS[request.param]
    write(tmp_path / "export", example())
    return source_format, tmp_path / "export"


def run(folder: Path, out: Path, source_format: str, **options):
    person = "walking_person" if source_format == "openpcdet" else "walking person"
    renamed = {"class_map": {"car": "Car", person: "Pedestrian"}}
    return import_data(folder, out, source_format=source_format, progress=False, **(renamed | options))


def test_every_format_has_an_example():
    assert {source_format for source_format, _ in WRITERS.values()} == set(FORMATS)


def test_every_tool_gives_the_same_root(export, tmp_path):
    source_format, folder = export
    summary = run(folder, tmp_path / "root", source_format)
    assert (summary.frames, summary.objects) == ({"train": 2, "val": 1}, {"Car": 2, "Pedestrian": 1, "tree": 1})
    assert summary.warnings == {}
    files, boxes = read_labelled_scans(tmp_path / "root")
    names = read_kitti_labels(tmp_path / "root/training/label_2", [path.stem for path in files]).name.tolist()
    assert names == [NAMES[name] for scan in example() for name, _ in scan.boxes]
    for path, found, scan in zip(files, boxes, example(), strict=True):
        np.testing.assert_array_equal(read_points(path), scan.points)
        wanted = np.array([box for _, box in scan.boxes]).reshape(-1, 7)
        wanted[:, 2] -= wanted[:, 5] / 2
        np.testing.assert_allclose(found[:, :6], wanted[:, :6], atol=1e-9)
        np.testing.assert_allclose(np.cos(found[:, 6] - wanted[:, 6]), 1, atol=1e-12)
    prepared = prepare_kitti(tmp_path / "root", progress=False)
    assert prepared.database == {"Car": 1, "Pedestrian": 1}
    assert [len(read_infos(tmp_path / "root" / f"kitti_infos_{split}.pkl")) for split in ("train", "val")] == [2, 1]


@pytest.mark.parametrize(
    ("name", "written", "linked"),
    [
        ("kitti-raw", "export/part", "export/part"),
        ("cvat", "export/part", "export/part"),
        ("cvat-supervisely", "export/part", "export/part"),
        ("cvat-datumaro", "export", "export/point_clouds"),
        ("supervisely", "export/part", "export/part"),
        ("sustech", "export/part", "export/part"),
    ],
)
def test_a_folder_that_is_a_link_is_imported(name, written, linked, tmp_path):
    """Readers did not look into it: beside another folder, its scans were left out without a word."""
    source_format, write = WRITERS[name]
    write(tmp_path / written, example())
    (tmp_path / linked).rename(tmp_path / "elsewhere")
    (tmp_path / linked).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert run(tmp_path / "export", tmp_path / "root", source_format).frames == {"train": 2, "val": 1}


def test_links_neither_end_in_loops_nor_double_scans(tmp_path):
    write_sustech(tmp_path / "export", example())
    scene = tmp_path / "export/scene_a"
    (tmp_path / "export/a_link_to_it").symlink_to(scene, target_is_directory=True)
    (scene / "inside").symlink_to(tmp_path / "export", target_is_directory=True)
    (scene / "around").symlink_to(tmp_path, target_is_directory=True)
    write_sustech(tmp_path / "beside", example())
    assert run(tmp_path / "export", tmp_path / "root", "sustech").frames == {"train": 2, "val": 1}
    frames = json.loads((tmp_path / "root/import.json").read_text())["frames"]
    assert [Path(path) for path in frames.values()] == [scene / f"lidar/{index:06d}.pcd" for index in range(3)]


def test_the_root_is_prepared_without_camera_or_images(tmp_path):
    write_sustech(tmp_path / "export", example())
    run(tmp_path / "export", tmp_path / "root", "sustech", classes=["Pedestrian", "Car"])
    summary = prepare_kitti(tmp_path / "root", progress=False)
    assert not summary.has_camera
    assert list(summary.classes) == ["Pedestrian", "Car"]
    assert summary.classes["Car"].size_m == (4.0, 1.8, 1.5)
    assert summary.classes["Car"].z_bottom_m == pytest.approx(-1.7)
    assert not (tmp_path / "root/training/velodyne_reduced").exists()
    infos = read_infos(tmp_path / "root/kitti_infos_train.pkl")
    assert [each["bbox_label_3d"] for each in infos[0]["instances"]] == [1, 0], "the order of --classes"
    assert [each["num_lidar_pts"] for each in infos[0]["instances"]] == [40, 40]
    database = read_database_infos(tmp_path / "root/kitti_dbinfos_train.pkl")
    assert [entry["difficulty"] for entry in database["Car"]] == [0], "a filter by difficulty keeps it"


def test_objects_without_size_are_refused_before_a_training(tmp_path):
    """Metres read as millimetres: the medians were rounded to 0, and the file of classes was said to be damaged."""
    write_sustech(tmp_path / "export", example())
    run(tmp_path / "export", tmp_path / "root", "sustech", unit_m=0.001)
    with pytest.raises(ValueError, match=r"root: the median size of Car is 0\.004 x 0\.0018 x 0\.0015 m: is the unit"):
        prepare_kitti(tmp_path / "root", progress=False)


def test_a_root_without_objects_of_its_classes_is_refused(tmp_path):
    """It was prepared, and the training then asked for a file of classes that no preparation wrote."""
    write_sustech(tmp_path / "export", example())
    run(tmp_path / "export", tmp_path / "root", "sustech")
    (tmp_path / "root/classes.txt").write_text("Bus\n")
    message = r"root: no training frame has an object of the classes Bus; the labels have 2 Car, 1 Pedestrian, 1 tree"
    with pytest.raises(ValueError, match=f"{message}: correct .*classes.txt or the labels"):
        prepare_kitti(tmp_path / "root", progress=False)


def test_labels_of_a_root_without_camera_are_exact(tmp_path):
    """The two frames differ by the order and the signs of the axes."""
    write_openpcdet(tmp_path / "export", example())
    run(tmp_path / "export", tmp_path / "root", "openpcdet")
    calibration = read_calibration(tmp_path / "root/training/calib/000000.txt")
    assert not calibration.has_camera
    points = example()[0].points[:, :3].astype(np.float64)
    np.testing.assert_array_equal(calibration.camera_to_lidar(calibration.lidar_to_camera(points)), points)
    np.testing.assert_array_equal(
        calibration.lidar_to_camera(points), np.stack([-points[:, 1], -points[:, 2], points[:, 0]], 1)
    )
    with pytest.raises(ValueError, match="no camera"):
        calibration.lidar_to_image(points)


def test_scans_and_boxes_move_into_the_frame_of_kitti_together(tmp_path):
    """A sensor 2.5 m above the road whose y points forward, with intensities of 8 bits, in centimetres."""

    def turned(scan: Labelled) -> Labelled:
        points = scan.points[:, [1, 0, 2, 3]] * (-100, 100, 100, 255)
        points[:, 2] -= 77
        boxes = [
            (name, (-100 * y, 100 * x, 100 * z - 77, 100 * length, 100 * width, 100 * height, yaw + math.pi / 2))
            for name, (x, y, z, length, width, height, yaw) in scan.boxes
        ]
        return Labelled(points, boxes)

    write_sustech(tmp_path / "export", [turned(scan) for scan in example()])
    frame = SensorFrame(height_m=2.5, rotate_z_rad=-math.pi / 2, intensity_scale=1 / 255)
    summary = run(tmp_path / "export", tmp_path / "root", "sustech", frame=frame, unit_m=0.01)
    assert summary.without_points == 0
    files, boxes = read_labelled_scans(tmp_path / "root")
    for path, found, scan in zip(files, boxes, example(), strict=True):
        np.testing.assert_allclose(read_points(path), scan.points, atol=2e-5)
        wanted = np.array([box for _, box in scan.boxes]).reshape(-1, 7)
        np.testing.assert_allclose(found[:, :2], wanted[:, :2], atol=1e-9)
        np.testing.assert_allclose(found[:, 2] + found[:, 5] / 2, wanted[:, 2], atol=1e-9)


def test_what_is_left_out_is_said(tmp_path):
    scans = example()
    scans[0].boxes.append(("car", (35.0, 35.0, 20.0, 4.0, 1.8, 1.5, 0.0)))
    write_sustech(tmp_path / "export", scans)
    scene = tmp_path / "export/scene_a"
    (scene / "lidar/000009.pcd").write_bytes((scene / "lidar/000000.pcd").read_bytes())
    scans[0].boxes.pop()
    said = format_summary(run(tmp_path / "export", tmp_path / "root", "sustech", classes=["Car"]), tmp_path / "root")
    assert "objects: Car 2\n" in said
    assert re.search("left out: 1 of class 'tree', the first in .*000002.json: box 1: add it to --classes, or", said)
    assert re.search("left out: 1 scans without a label file; the first is .*000009.pcd", said)
    assert "left out: 1 boxes in which no point lies" in said


def test_names_with_spaces_are_quoted_in_commands(tmp_path):
    write_sustech(tmp_path / "my export", example())
    said = format_summary(run(tmp_path / "my export", tmp_path / "my root", "sustech"), "my root")
    assert said.endswith("next: lidar-rank doctor 'my root', then lidar-rank create-data 'my root'")


def test_warnings_of_many_scans_are_one_line(tmp_path):
    scans = example()
    for scan in scans:
        scan.points[:3, 0] = np.nan
    write_sustech(tmp_path / "export", scans)
    said = format_summary(run(tmp_path / "export", tmp_path / "root", "sustech"), tmp_path / "root")
    assert len(re.findall("are not finite: left out", said)) == 1
    assert "000000.pcd: 3 of 380 points are not finite: left out (the same of 2 more scans)" in said


def test_the_source_divides_the_frames_where_it_does(tmp_path):
    write_openpcdet(tmp_path / "export", example())
    (tmp_path / "export/ImageSets/train.txt").write_text("000002\n")
    (tmp_path / "export/ImageSets/val.txt").write_text("000000\n")
    assert run(tmp_path / "export", tmp_path / "root", "openpcdet").frames == {"train": 1, "val": 1}
    assert (tmp_path / "root/ImageSets/train.txt").read_text() == "000002\n"


def test_a_root_is_replaced_and_other_folders_are_left_alone(tmp_path):
    write_openpcdet(tmp_path / "export", example())
    run(tmp_path / "export", tmp_path / "root", "openpcdet")
    prepare_kitti(tmp_path / "root", progress=False)
    (tmp_path / "root/mine.txt").write_text("kept")
    (tmp_path / "export/points/000001.npy").unlink()
    (tmp_path / "export/labels/000001.txt").unlink()
    (tmp_path / "export/ImageSets/train.txt").write_text("000000\n")
    run(tmp_path / "export", tmp_path / "root", "openpcdet")
    assert len(list((tmp_path / "root/training/velodyne").iterdir())) == 2
    assert not list((tmp_path / "root").glob("*.pkl"))
    assert (tmp_path / "root/mine.txt").read_text() == "kept"
    assert json.loads((tmp_path / "root/import.json").read_text())["frames"]["000001"].endswith("000002.npy")
    for out in (tmp_path / "export", tmp_path / "export/root", tmp_path):
        with pytest.raises(FileExistsError, match=r"lies in|holds files"):
            run(tmp_path / "export", out, "openpcdet")


def corrupt(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


DELETED = None
# Format, file, its new content or a text in it and that which replaces it, and the message.
DAMAGES = [
    ("openpcdet", "labels/000000.txt", ("4.0", "0.0"), "000000.txt:1: length, width, height of a car are"),
    ("openpcdet", "labels/000000.txt", ("4.0", "nan"), "000000.txt:1: a value of a car must be a finite number"),
    ("openpcdet", "labels/000002.txt", (" tree", ""), "000002.txt:2: expected x y z dx dy dz heading class"),
    ("openpcdet", "points/000001.npy", DELETED, "labels/000001.txt labels a scan that is not there"),
    ("openpcdet", "points/000002.npy", b"", "points/000002.npy: the file is empty"),
    ("openpcdet", "points/000002.npy", b"\x93NUMPY", "000002.npy: cannot be read as .npy"),
    ("openpcdet", "ImageSets/val.txt", b"000007\n", "val.txt names frame 000007, which has no scan"),
    ("sustech", "label/000000.json", b"[{", "000000.json: cut off, or no JSON"),
    ("sustech", "label/000000.json", b"", "000000.json: the file is empty, expected a list of boxes"),
    ("sustech", "label/000000.json", ("psr", "box"), "expected .*; it has no 'psr': export it again, or name its tool"),
    ("sustech", "label/000000.json", b"[1, 2]", "expected a list of .*; it holds something else: export it again"),
    ("sustech", "label", DELETED, "no scene with lidar/ and label/ in .*: unpack the export there, or name its tool"),
    ("labelcloud-rel", "pointclouds", DELETED, "no folder .*pointclouds.*: unpack the export there, or name its tool"),
    ("supervisely", "pointcloud", DELETED, "no folder pointcloud/ in .*: unpack the export there, or name its tool"),
    ("kitti-raw", "*.xml", DELETED, "no tracklet_labels.xml in .*: unpack the export there, or name its tool with"),
    ("openpcdet", "labels", DELETED, "none of 3 scans has a label file, .*: unpack the export there, or name its tool"),
    ("sustech", "label/000000.json", ("4.0", "-4.0"), "000000.json: box 0: length, width, height of a car are"),
    ("sustech", "label/000000.json", ("4.0", "NaN"), "000000.json: box 0: a value of a car must be a finite"),
    ("sustech", "lidar/000002.pcd", DELETED, "label/000002.json labels a scan that is not there"),
    ("kitti-raw", "*02.bin", DELETED, "tracklet_labels.xml: track 2 is in frame 2, which has no scan"),
    ("kitti-raw", "*.xml", ("</tracklets>", ""), "tracklet_labels.xml: cut off, or no XML"),
    ("kitti-raw", "*.xml", ("<rz>0.3</rz>", ""), "track 0 has no <rz>"),
    ("kitti-raw", "*.xml", ("<h>1.5</h>", "<h>0</h>"), "track 0: length, width, height of a car are"),
    ("cvat", "*.2.pcd", DELETED, "frame_list.txt:3 names a scan that is not there, street.2"),
    ("cvat-datumaro", "*_2.pcd", DELETED, "item street_2 needs one scan street_2.pcd in the export, found 0"),
    ("cvat-datumaro", "default.json", ('"label_id": 0', '"label_id": 7'), "label_id 7 is none of the 3 labels"),
    ("supervisely", "*_0.pcd.json", ("objectKey", "object"), "scene_0.pcd.json: expected annotations"),
    ("supervisely", "*_2.pcd", DELETED, "scene_2.pcd.json labels a scan that is not there"),
    ("supervisely-episodes", "*_2.pcd", DELETED, "map.json names a scan that is not there, scene_2.pcd"),
    ("supervisely-episodes", "annotation.json", ('"index": 2', '"index": 9'), "labels frame 9, which has no scan"),
    ("labelcloud-rel", "cloud 0.json", ('"z": 0.3}', '"z": "a"}'), "cloud 0.json: object 0: the rotations are"),
    ("labelcloud-vertices", "cloud 0.json", ("[[", "[[0.5], ["), "object 0: expected 8 vertices of x, y, z"),
]


@pytest.mark.parametrize(("name", "file", "damage", "message"), DAMAGES)
def test_what_is_wrong_is_one_line_that_names_the_file(name, file, damage, message, tmp_path):
    source_format, write = WRITERS[name]
    write(tmp_path / "export", example())
    (path,) = (tmp_path / "export").rglob(file)
    if damage is DELETED:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        corrupt(path, *damage)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        run(tmp_path / "export", tmp_path / "root", source_format)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "root/ImageSets/train.txt").exists(), "create-data refuses what is not complete"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"class_map": {}},
            "'walking person' cannot be a class, which is one word .* with --map 'walking person=NAME'",
        ),
        (
            {"class_map": {"lorry": "Truck", "walking person": "p"}},
            "--map names 'lorry', which no label is of; there are car",
        ),
        ({"classes": ["Car", "Tram"]}, "--classes names 'Tram', which no label is of; there are Car, Pedestrian, tree"),
        ({"classes": ["Car", "Car"]}, "--classes: the classes 'Car' and 'Car' are the same up to upper and lower case"),
        (
            {"class_map": {"walking person": "Car"}},
            "the classes 'Car' and 'car' are the same up to upper and lower case",
        ),
        ({"class_map": {"walking person": "DontCare"}}, "'DontCare' cannot be a class"),
        ({"val": 3}, "val must be from 0 to 2"),
    ],
)
def test_classes_that_do_not_fit_the_labels_are_refused(options, message, tmp_path):
    write_sustech(tmp_path / "export", example())
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "export", tmp_path / "root", "sustech", **options)
    assert not (tmp_path / "root").exists()


def test_angles_of_labelcloud_without_unit_are_asked_for(tmp_path):
    """All between 0 and pi: degrees and radians are both possible."""
    scan = example()[0]
    scans = [Labelled(scan.points, [("car", (*scan.boxes[0][1][:6], 0.3))])] * 2
    folder = tmp_path / "export"
    WRITERS["labelcloud-rel"][1](folder, scans)
    with pytest.raises(ValueError, match="nothing says whether the rotations are degrees or radians"):
        run(folder, tmp_path / "root", "labelcloud", class_map={})
    (folder / "labels/_classes.json").write_text('{"classes": [], "format": "centroid_abs"}')
    run(folder, tmp_path / "root", "labelcloud", class_map={})
    assert read_labelled_scans(tmp_path / "root")[1][0][0, 6] == pytest.approx(math.radians(0.3))


def test_tilted_boxes_are_counted(tmp_path):
    write_sustech(tmp_path / "export", example())
    corrupt(tmp_path / "export/scene_a/label/000000.json", '"rotation": {"x": 0', '"rotation": {"x": 0.2')
    assert run(tmp_path / "export", tmp_path / "root", "sustech").tilted == 1


def test_scans_follow_the_numbers_in_their_names(tmp_path):
    """The last ones are held back, so their order is that of the recording."""
    scans = [scan for _ in range(4) for scan in example()]
    WRITERS["supervisely"][1](tmp_path / "export", scans)
    run(tmp_path / "export", tmp_path / "root", "supervisely")
    frames = json.loads((tmp_path / "root/import.json").read_text())["frames"]
    assert [Path(path).name for path in frames.values()] == [f"scene_{index}.pcd" for index in range(12)]
