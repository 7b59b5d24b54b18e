"""OpenPCDet's custom data set: ``points/NAME.npy``, ``labels/NAME.txt`` and ``ImageSets/{train,val}.txt``.

Source: OpenPCDet's tutorial on custom data sets: a line of a label file is ``x y z dx dy dz heading class``, with the
centre of the box.
"""

from pathlib import Path
from typing import Final

from lidar_rank.importing.source import Source, SourceBox, list_clouds, make_box, match_labels
from lidar_rank.kitti.files import read_lines
from lidar_rank.kitti.labels import read_frame_ids

CLOUD_FOLDER: Final = "points"
LABEL_FOLDER: Final = "labels"
COLUMNS: Final = "x y z dx dy dz heading class"
SPLITS: Final = ("train", "val")


def read_openpcdet(folder: Path) -> Source:
    """Read the folder of a custom data set.

    Raises:
        FileNotFoundError: there are no scans, a label file has no scan, or a list names a frame that is not there.
        ValueError: a file is malformed; the message names it.
    """
    labels = {path.stem: path for path in sorted((folder / LABEL_FOLDER).glob("*.txt"))}
    source = match_labels(list_clouds(folder / CLOUD_FOLDER), labels, _read_boxes)
    source.splits = _read_splits(folder, source)
    return source


def _read_boxes(path: Path) -> list[SourceBox]:
    boxes = []
    for number, line in enumerate(read_lines(path), start=1):
        words = line.split()
        if words and len(words) != len(COLUMNS.split()):
            raise ValueError(f"{path}:{number}: expected {COLUMNS}, got {line[:120]!r}")
        if words:
            boxes.append(make_box(words[7], words[:3], words[3:6], words[6], f"{path}:{number}"))
    return boxes


def _read_splits(folder: Path, source: Source) -> dict[str, list[int]] | None:
    position = {scan.path.stem: index for index, scan in enumerate(source.scans)}
    splits = {}
    for split in SPLITS:
        path = folder / "ImageSets" / f"{split}.txt"
        if path.is_file():
            names = read_frame_ids(path)
            missing = [name for name in names if name not in position]
            if missing:
                raise FileNotFoundError(
                    f"{path} names frame {missing[0]}, which has no scan with labels: remove the line"
                )
            splits[split] = [position[name] for name in names]
    return splits or None
