"""A KITTI-format root: its frames, its splits, and a check that no file is missing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lidar_rank.kitti.labels import read_frame_ids

SPLITS: Final = ("train", "val", "trainval", "test")
FOLDERS_OF_FRAMES: Final = {
    "training": ("training/velodyne", "training/calib", "training/label_2"),
    "testing": ("testing/velodyne", "testing/calib"),
}
SPLIT_LISTS_URL: Final = "https://github.com/traveller59/second.pytorch/tree/master/second/data/ImageSets"


def folder_of_split(split: str) -> str:
    """Name of the folder with the frames of a split: ``testing``, which has no labels, or ``training``."""
    return "testing" if split == "test" else "training"


@dataclass(frozen=True, order=True)
class Frame:
    """One scan and the files that belong to it.

    Attributes:
        folder: ``ROOT/training`` or ``ROOT/testing``; only training frames have labels.
        name: Six digits, the name of all files of the frame.
    """

    folder: Path
    name: str

    @classmethod
    def of_scan(cls, points_path: Path) -> "Frame":
        """The frame that a file of ``velodyne`` or ``velodyne_reduced`` belongs to."""
        return cls(points_path.parent.parent, points_path.stem)

    @property
    def is_labelled(self) -> bool:
        """Whether the frame has a label file."""
        return self.folder.name == "training"

    @property
    def points_path(self) -> Path:
        """The full scan."""
        return self.folder / "velodyne" / f"{self.name}.bin"

    @property
    def reduced_points_path(self) -> Path:
        """The points inside the image, which preparation writes."""
        return self.folder / "velodyne_reduced" / f"{self.name}.bin"

    @property
    def calibration_path(self) -> Path:
        """The calibration."""
        return self.folder / "calib" / f"{self.name}.txt"

    @property
    def label_path(self) -> Path:
        """The label file of a training frame."""
        return self.folder / "label_2" / f"{self.name}.txt"

    @property
    def image_path(self) -> Path:
        """The left colour image; optional where the image size is given."""
        return self.folder / "image_2" / f"{self.name}.png"


def read_splits(root: Path) -> dict[str, list[Frame]]:
    """Find the frames of each split and check that their files are there.

    Args:
        root: A KITTI-format folder with one or more of ``ImageSets/{train,val,trainval,test}.txt``, and the folders of
            the frames that these lists name. Without ``trainval.txt``, trainval is train followed by val. ``test.txt``
            counts only where there is a folder ``testing``: the usual lists name test frames that many users do not
            download.

    Returns:
        Frames by split, in the order of the lists.

    Raises:
        FileNotFoundError: the root is missing, is not in KITTI format, or lacks files of listed frames.
        ValueError: a list is empty, names a frame twice, or names something else; the message names the list.
    """
    listed = [split for split in SPLITS if _list_path(root, split).is_file()]
    if "test" in listed and not (root / "testing").is_dir() and listed != ["test"]:
        listed.remove("test")
    _check_layout(root, listed)
    splits = {split: _read_split(root, split) for split in listed}
    if "train" in splits:
        splits.setdefault("trainval", list(dict.fromkeys(splits["train"] + splits.get("val", []))))
    return splits


def _list_path(root: Path, split: str) -> Path:
    return root / "ImageSets" / f"{split}.txt"


def _check_layout(root: Path, listed: Sequence[str]) -> None:
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}")
    needed = {folder_of_split(split) for split in listed} or {"training"}
    missing = [entry for folder in sorted(needed) for entry in FOLDERS_OF_FRAMES[folder] if not (root / entry).is_dir()]
    if not listed:
        missing.append(f"list of frames ImageSets/{{{','.join(SPLITS)}}}.txt (the usual ones are at {SPLIT_LISTS_URL})")
    if missing:
        found = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
        raise FileNotFoundError(f"{root} is not a KITTI root: it has no {', no '.join(missing)}; found there: {found}")


def _read_split(root: Path, split: str) -> list[Frame]:
    path = _list_path(root, split)
    names = read_frame_ids(path)
    for name in names:
        if not re.fullmatch(r"[0-9]{6}", name):
            raise ValueError(f"{path}: expected frames of six digits, such as 000007, got {name[:60]!r}")
    frames = [Frame(root / folder_of_split(split), name) for name in names]
    _check_files(path, [frame.points_path for frame in frames])
    _check_files(path, [frame.calibration_path for frame in frames])
    _check_files(path, [frame.label_path for frame in frames if frame.is_labelled])
    return frames


def _check_files(list_path: Path, paths: Sequence[Path]) -> None:
    # One listing per folder: asking for each of 20,000 files takes minutes on a network drive.
    folders = {path.parent for path in paths if path.parent.is_dir()}
    present = {path for folder in folders for path in folder.iterdir()}
    absent = [path for path in paths if path not in present]
    if absent:
        raise FileNotFoundError(
            f"{list_path} names {len(absent)} of {len(paths)} frames that have no file; the first is {absent[0]}"
        )
