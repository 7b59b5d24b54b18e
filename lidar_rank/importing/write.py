"""From labelled scans of another tool to a root in KITTI's layout, without camera, that training takes."""

import json
import re
import shlex
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray
from tqdm import tqdm

from lidar_rank.geometry.points import points_in_boxes
from lidar_rank.importing import FORMATS
from lidar_rank.importing.source import Source, SourceBox, SourceScan
from lidar_rank.kitti.calibration import WITHOUT_CAMERA, format_calibration
from lidar_rank.kitti.classes import LIST_NAME, check_class_names
from lidar_rank.kitti.files import write_atomically
from lidar_rank.kitti.labels import write_kitti_labels
from lidar_rank.kitti.predictions import objects_without_camera
from lidar_rank.kitti.root import Frame
from lidar_rank.scans import SensorFrame, read_scan
from lidar_rank.shapes import Float, Shaped

NOTE_NAME: Final = "import.json"
# Everything that an import and the preparation of its result write into a root.
OWN_ENTRIES: Final = ("training", "ImageSets", "kitti_*", LIST_NAME, NOTE_NAME)
MAX_SCANS: Final = 1_000_000  # six digits name a frame


@dataclass(frozen=True)
class ImportSummary:
    """What an import found and wrote.

    Attributes:
        frames: Number of frames by split.
        objects: Number of written objects by class.
        left_out: Number of objects of each class that was not asked for, and the place of the first.
        unlabelled: Scans without annotation, which are left out.
        without_points: Number of boxes in which no point lies, which are left out.
        tilted: Number of boxes whose tilt is left out.
        warnings: What was said of scans: the first message of each kind, and how many there were.
    """

    frames: dict[str, int]
    objects: dict[str, int]
    left_out: dict[str, tuple[int, str]]
    unlabelled: list[Path]
    without_points: int
    tilted: int
    warnings: dict[str, int]


def import_data(
    folder: Path | str,
    out: Path | str,
    *,
    source_format: str,
    classes: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    val: int | None = None,
    frame: SensorFrame | None = None,
    columns: Sequence[str] | None = None,
    dtype: str | None = None,
    unit_m: float = 1.0,
    progress: bool = True,
) -> ImportSummary:
    """Turn labelled scans of another tool into a root in KITTI's layout that ``lidar-rank create-data`` takes.

    The root has ``training/{velodyne,label_2,calib}``, ``ImageSets``, ``classes.txt`` and a note that names the source
    of each frame. Scans and boxes are moved into the frame of KITTI's LiDAR; labels are in that frame with a camera's
    axes, and calibrations without ``P0`` to ``P3`` say that there is no camera. All labels are checked before the first
    file is written. The source is only read.

    Args:
        folder: What the tool exported.
        out: Root to write. An earlier import in it is replaced; other files are left alone.
        source_format: One of :data:`lidar_rank.importing.FORMATS`.
        classes: Classes to import, after ``class_map``; by default all.
        class_map: New names of classes by their names in the source.
        val: Number of validation frames, which are the last ones; by default a fifth of all, or as the source says.
        frame: How the sensor is mounted; by default as KITTI's.
        columns: As for :func:`lidar_rank.scans.read_scan`.
        dtype: As for :func:`lidar_rank.scans.read_scan`.
        unit_m: Length of the unit of scans and boxes in metres.
        progress: Show a progress bar.

    Raises:
        FileExistsError: ``out`` is a file, holds other files than an import, or lies in ``folder`` or around it.
        FileNotFoundError: there is nothing to import, or a label has no scan.
        ValueError: a file is malformed, or classes, ``class_map`` and labels do not fit; the message names the file.
        OSError: ``out`` cannot be written to.
    """
    folder, out, frame = Path(folder), Path(out), frame or SensorFrame()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder} to import: unpack the export there")
    source = _read(folder, source_format)
    names = _Names(source, classes, class_map or {})
    splits = _splits(source, val)
    _check_folder(folder, out)
    _make_folders(out)
    _write_note(out, source, {"from": source_format, "folder": str(folder)})
    write_atomically(out / LIST_NAME, "".join(f"{name}\n" for name in names.classes).encode())

    said: dict[str, list[str]] = {}
    objects, without_points = Counter[str](), 0
    for index, scan in enumerate(tqdm(source.scans, desc="import", unit="scan", disable=not progress)):
        with _collected_warnings(said, scan.path):
            points = read_scan(scan.path, columns=columns, dtype=dtype, unit_m=unit_m)
        points = frame.points_to_kitti(points)
        new_names, boxes = _boxes(scan, names, frame, unit_m)
        seen = points_in_boxes(points, boxes).any(axis=1)
        _write_frame(Frame(out / "training", _frame_name(index)), points, new_names[seen], boxes[seen])
        objects.update(new_names[seen].tolist())
        without_points += int((~seen).sum())
    # Last, so that create-data refuses a root that an error left incomplete.
    for split, members in splits.items():
        lines = "".join(f"{_frame_name(index)}\n" for index in members)
        write_atomically(out / "ImageSets" / f"{split}.txt", lines.encode())
    return ImportSummary(
        frames={split: len(members) for split, members in splits.items()},
        objects={name: objects[name] for name in names.classes},
        left_out=names.left_out,
        unlabelled=source.unlabelled,
        without_points=without_points,
        tilted=sum(box.is_tilted for scan in source.scans for box in scan.boxes if names.new_name(box)),
        warnings={messages[0]: len(messages) for messages in said.values()},
    )


def _read(folder: Path, source_format: str) -> Source:
    if source_format not in FORMATS:
        raise ValueError(f"source_format must be one of {', '.join(FORMATS)}, got {source_format!r}")
    module = import_module(f"lidar_rank.importing.{'tracklets' if source_format == 'kitti-raw' else source_format}")
    read: Callable[[Path], Source] = getattr(module, f"read_{source_format.replace('-', '_')}")
    source = read(folder)
    if not 2 <= len(source.scans) <= MAX_SCANS:
        raise ValueError(
            f"{folder} has {len(source.scans)} labelled scans; from 2 (one to train on, one to validate)"
            f" to {MAX_SCANS} can be imported"
        )
    return source


class _Names:
    """The classes to import, and what becomes of the source's names."""

    def __init__(self, source: Source, classes: Sequence[str] | None, class_map: Mapping[str, str]) -> None:
        self._map = class_map
        boxes = [box for scan in source.scans for box in scan.boxes]
        first_of = {box.name: box.where for box in reversed(boxes)}
        if not boxes:
            raise ValueError(f"{source.scans[0].path.parent}: no scan has a labelled box, so there is nothing to learn")
        unused = [old for old in class_map if old not in first_of]
        if unused:
            raise ValueError(
                f"--map names {unused[0]!r}, which no label is of; there are {', '.join(sorted(first_of))}"
            )
        renamed = {class_map.get(name, name): where for name, where in first_of.items()}
        for name in [name for name in renamed if classes is None or name in classes]:
            _check_name(name, renamed[name])
        self.classes = tuple(sorted(renamed) if classes is None else classes)
        check_class_names(self.classes, "--classes")
        absent = [name for name in self.classes if name not in renamed]
        if absent:
            raise ValueError(
                f"--classes names {absent[0]!r}, which no label is of; there are {', '.join(sorted(renamed))}"
            )
        counts = Counter(box.name for box in boxes if self.new_name(box) is None)
        self.left_out = {name: (count, first_of[name]) for name, count in counts.items()}

    def new_name(self, box: SourceBox) -> str | None:
        """Class of a box in the root; None if it is left out."""
        name = self._map.get(box.name, box.name)
        return name if name in self.classes else None


def _check_name(name: str, where: str) -> None:
    try:
        check_class_names([name], where)
    except ValueError as error:
        raise ValueError(f"{error} with --map '{name}=NAME'") from None


def _splits(source: Source, val: int | None) -> dict[str, list[int]]:
    if source.splits is not None and val is None:
        return source.splits
    total = len(source.scans)
    val = max(total // 5, 1) if val is None else val
    if not 0 <= val < total:
        raise ValueError(f"val must be from 0 to {total - 1}, so that at least one of {total} scans is left, got {val}")
    splits = {"train": list(range(total - val)), "val": list(range(total - val, total))}
    return {split: members for split, members in splits.items() if members}


def _check_folder(folder: Path, out: Path) -> None:
    ours, theirs = out.absolute().resolve(), folder.absolute().resolve()
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise FileExistsError(
            f"{out} lies in {folder} or around it: name another folder, so that nothing is overwritten"
        )
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: name a folder instead")
    if out.is_dir() and any(out.iterdir()) and not (out / NOTE_NAME).is_file():
        raise FileExistsError(f"{out} holds files but no import (there is no {NOTE_NAME}): name another folder")


def _make_folders(out: Path) -> None:
    """Make the folders of a root, after removing what an earlier import left in it."""
    for entry in (path for name in OWN_ENTRIES for path in out.glob(name) if path.name != NOTE_NAME):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for name in ("velodyne", "label_2", "calib"):
        (out / "training" / name).mkdir(parents=True)
    (out / "ImageSets").mkdir()


def _frame_name(index: int) -> str:
    return f"{index:06d}"


def _boxes(
    scan: SourceScan, names: _Names, frame: SensorFrame, unit_m: float
) -> tuple[Shaped[ndarray, " box"], Float[ndarray, "box 7"]]:
    """Classes and boxes (x, y, z_bottom, length, width, height, yaw) of a scan in the frame of KITTI's LiDAR."""
    kept = [(name, box.box) for box in scan.boxes if (name := names.new_name(box))]
    boxes = np.array([box for _, box in kept], dtype=np.float64).reshape(-1, 7)
    boxes[:, :6] *= unit_m
    boxes[:, 2] -= boxes[:, 5] / 2
    return np.array([name for name, _ in kept], dtype=np.str_), frame.boxes_to_kitti(boxes)


def _write_frame(
    frame: Frame, points: Float[ndarray, "point 4"], names: Shaped[ndarray, " box"], boxes: Float[ndarray, "box 7"]
) -> None:
    write_atomically(frame.points_path, points.tobytes())
    write_atomically(frame.calibration_path, format_calibration(WITHOUT_CAMERA).encode())
    write_kitti_labels(frame.label_path.parent, objects_without_camera(frame.name, boxes, names))


def _write_note(out: Path, source: Source, settings: Mapping[str, str]) -> None:
    """Write which tool and which files the frames come from."""
    frames = {_frame_name(index): str(scan.path) for index, scan in enumerate(source.scans)}
    note = {"made_by": "lidar-rank import", **settings, "frames": frames}
    write_atomically(out / NOTE_NAME, (json.dumps(note, indent=1) + "\n").encode())


@contextmanager
def _collected_warnings(said: dict[str, list[str]], path: Path) -> Iterator[None]:
    """Collect warnings by what they say apart from file and numbers: one line for one fault of 10,000 scans."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in (str(each.message) for each in caught):
        said.setdefault(re.sub("[0-9]+", "", message.replace(str(path), "")), []).append(message)


def format_summary(summary: ImportSummary, out: Path | str) -> str:
    """Lines for people."""
    lines = [f"frames: {', '.join(f'{split} {count}' for split, count in summary.frames.items())}"]
    lines.append(f"objects: {', '.join(f'{name} {count}' for name, count in summary.objects.items())}")
    for name, (count, where) in summary.left_out.items():
        lines.append(
            f"left out: {count} of class {name!r}, the first in {where}: add it to --classes, or name its class with"
            f" --map '{name}=CLASS'"
        )
    if summary.unlabelled:
        lines.append(
            f"left out: {len(summary.unlabelled)} scans without a label file; the first is {summary.unlabelled[0]}"
        )
    if summary.without_points:
        lines.append(f"left out: {summary.without_points} boxes in which no point lies")
    if summary.tilted:
        lines.append(f"{summary.tilted} boxes are tilted by more than 5 degrees: they are taken as upright")
    for message, count in summary.warnings.items():
        lines.append(message + (f" (the same of {count - 1} more scans)" if count > 1 else ""))
    root = shlex.quote(str(out))
    return "\n".join([*lines, f"next: lidar-rank doctor {root}, then lidar-rank create-data {root}"])
