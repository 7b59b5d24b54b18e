"""Splits and files of a root, and what is said when they are not there."""

import re
import shutil

import pytest

from lidar_rank.kitti.root import read_splits
from tests.kitti.roots import add_test_split, link_real_root, make_root, write


def names(frames):
    return [frame.name for frame in frames]


def test_trainval_is_train_then_val_without_a_list(tmp_path):
    splits = read_splits(make_root(tmp_path))
    assert list(splits) == ["train", "val", "trainval"]
    assert names(splits["trainval"]) == ["000000", "000001", "000002", "000003"]


def test_lists_keep_their_order(tmp_path):
    write(make_root(tmp_path) / "ImageSets" / "trainval.txt", "000003\n\n000001\n")
    assert names(read_splits(tmp_path)["trainval"]) == ["000003", "000001"]


def test_val_is_optional_and_may_repeat_train(tmp_path):
    make_root(tmp_path)
    (tmp_path / "ImageSets" / "val.txt").write_text("000002\n")
    assert names(read_splits(tmp_path)["trainval"]) == ["000000", "000001", "000002"]
    (tmp_path / "ImageSets" / "val.txt").unlink()
    assert "val" not in read_splits(tmp_path)


def test_test_frames_have_no_labels(tmp_path):
    add_test_split(make_root(tmp_path))
    (frame,) = read_splits(tmp_path)["test"]
    assert frame.points_path == tmp_path / "testing" / "velodyne" / "000000.bin"
    assert not frame.is_labelled


def test_a_test_list_without_test_scans_is_no_test_split(tmp_path):
    write(make_root(tmp_path) / "ImageSets" / "test.txt", "000000\n")
    assert "test" not in read_splits(tmp_path)


def test_a_root_may_hold_val_alone(tmp_path):
    (make_root(tmp_path) / "ImageSets" / "train.txt").unlink()
    assert {split: names(frames) for split, frames in read_splits(tmp_path).items()} == {"val": ["000003"]}


def test_a_root_may_hold_test_alone(tmp_path):
    add_test_split(tmp_path)
    assert {split: names(frames) for split, frames in read_splits(tmp_path).items()} == {"test": ["000000"]}
    shutil.rmtree(tmp_path / "testing")
    with pytest.raises(FileNotFoundError, match="it has no testing/velodyne, no testing/calib; found"):
        read_splits(tmp_path)


@pytest.mark.real
def test_real_splits(kitti_root, tmp_path):
    splits = read_splits(link_real_root(kitti_root, tmp_path / "kitti"))
    assert {split: len(frames) for split, frames in splits.items()} == {"train": 61, "val": 22, "trainval": 83}


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"no folder {tmp_path / 'kitti'}")):
        read_splits(tmp_path / "kitti")


def test_a_root_that_is_not_kitti_says_what_was_expected_and_found(tmp_path):
    for entry in ("samples", "sweeps", "v1.0-mini"):
        (tmp_path / entry).mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"not a KITTI root: it has no training/velodyne.*found there: samples, sweeps"
    ):
        read_splits(tmp_path)


def test_missing_split_lists_say_where_they_are(tmp_path):
    shutil.rmtree(make_root(tmp_path) / "ImageSets")
    message = r"it has no list of frames ImageSets/{train,val,trainval,test}.txt \(the usual ones are at https://"
    with pytest.raises(FileNotFoundError, match=message):
        read_splits(tmp_path)


@pytest.mark.parametrize("folder", ["velodyne", "calib", "label_2"])
def test_frames_without_files_are_counted_and_the_first_is_named(tmp_path, folder):
    make_root(tmp_path)
    for path in sorted((tmp_path / "training" / folder).iterdir())[1:3]:
        path.unlink()
    missing = re.escape(str(tmp_path / "training" / folder / "000001"))
    with pytest.raises(
        FileNotFoundError, match=f"train.txt names 2 of 3 frames that have no file; the first is {missing}"
    ):
        read_splits(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("000000\n7\n", r"train.txt: expected frames of six digits, such as 000007, got '7'"),
        ("../etc\n", r"train.txt: expected frames of six digits.*got '../etc'"),
        ("000000\n000001\n000000\n", r"train.txt:3: frame 000000 is already on line 1"),
        ("\n \n", r"train.txt: the list is empty"),
    ],
)
def test_bad_lists_are_named(tmp_path, content, message):
    (make_root(tmp_path) / "ImageSets" / "train.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_splits(tmp_path)
