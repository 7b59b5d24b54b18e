"""A KITTI-format root: its frames, its splits, and whether the files of all frames are there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lidar_rank.kitti.labels import read_frame_ids

SPLITS: Final = ("train", "val", "trainval", "test")
EXPECTED_ENTRIES: Final = ("training/velodyne", "training/calib", "training/label_2", "ImageSets/train.txt")
SPLIT_LISTS_URL: Final = "https://github.com/traveller59/second.pytorch/tree/master/second/data/ImageSets"


@dataclass(frozen=True, order=True)
class Frame:
    """One scan and the files that belong to it.

    Attributes:
        folder: ``ROOT/training`` or ``ROOT/testing``; only training frames have labels.
        name: The six digits that all files of the frame are named after.
    """

    folder: Path
    name: str

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
        """The objects of a training frame."""
        return self.folder / "label_2" / f"{self.name}.txt"

    @property
    def image_path(self) -> Path:
        """The left colour image; a root may do without."""
        return self.folder / "image_2" / f"{self.name}.png"


def read_splits(root: Path) -> dict[str, list[Frame]]:
    """Find the frames of each split and check that their files are there.

    Args:
        root: A KITTI-format folder with ``training`` and ``ImageSets/train.txt``. ``val.txt`` and ``trainval.txt`` are
            optional; without the latter, trainval is train followed by val. ``test.txt`` counts where ``testing`` is
            there too, since the usual lists name test frames that many do not download.

    Returns:
        Frames by split, in the order of the lists.

    Raises:
        FileNotFoundError: the root is missing, is not KITTI, or lacks files of listed frames.
        ValueError: a list is empty, names a frame twice, or names something else; the message names the list.
    """
    _check_layout(root)
    splits = {
        split: _read_split(root, split)
        for split in SPLITS
        if (root / "ImageSets" / f"{split}.txt").is_file() and (split != "test" or (root / "testing").is_dir())
    }
    splits.setdefault("trainval", list(dict.fromkeys(splits["train"] + splits.get("val", []))))
    return splits


def _check_layout(root: Path) -> None:
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}")
    missing = [entry for entry in EXPECTED_ENTRIES if not (root / entry).exists()]
    if missing:
        found = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
        hint = f" (the usual lists are at {SPLIT_LISTS_URL})" if "ImageSets/train.txt" in missing else ""
        raise FileNotFoundError(f"{root} is no KITTI root: it has no {', '.join(missing)}{hint}; found there: {found}")


def _read_split(root: Path, split: str) -> list[Frame]:
    path = root / "ImageSets" / f"{split}.txt"
    names = read_frame_ids(path)
    for name in names:
        if not re.fullmatch(r"\d{6}", name):
            raise ValueError(f"{path}: expected frames of six digits, such as 000007, got {name[:60]!r}")
    frames = [Frame(root / ("testing" if split == "test" else "training"), name) for name in names]
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
