"""KITTI label and result files: one text file per frame, one object per line.

A line holds, separated by spaces: type, truncation in [0, 1], occlusion 0 to 3, alpha (observation angle), left, top,
right, bottom (pixels), height, width, length (metres), x, y, z of the centre of the bottom face (metres, camera frame),
rotation about the camera's y axis and, in result files, the score. -1, -10 and -1000 stand for unknown values.
The format is that of the development kit of Geiger et al., "Are we ready for autonomous driving?", CVPR 2012.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.kitti.files import parse_number, read_lines, write_atomically
from lidar_rank.shapes import Float64, Int64, Shaped

LABEL_COLUMNS: Final = (
    *("type", "truncation", "occlusion", "alpha", "left", "top", "right", "bottom"),
    *("height", "width", "length", "x", "y", "z", "rotation_y"),
)
RESULT_COLUMNS: Final = (*LABEL_COLUMNS, "score")


@dataclass(frozen=True, eq=False)
class KittiObjects:
    """Objects or detections of many frames, one array per column, in the order of the files.

    Attributes:
        frame_ids: Name of each frame, such as ``"000007"``.
        frame_start: Objects ``frame_start[i]`` to ``frame_start[i + 1]`` are those of frame i.
        name: Type, such as ``"Car"``, in the file's spelling.
        truncation: Share of the object outside the image, 0 to 1; -1 where unknown.
        occlusion: 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 in results.
        alpha_rad: Heading relative to the ray from the camera; -10 where unknown.
        bbox_px: left, top, right, bottom in the image.
        size_m: height, width, length.
        location_m: x, y, z of the centre of the bottom face in the camera frame (x right, y down, z forward).
        yaw_rad: ``rotation_y``, about the camera's y axis, 0 along x, from x to -z.
        score: Higher is better; NaN for labels, which have none.

    Raises:
        ValueError: the columns have different lengths, or ``frame_start`` does not divide them into the frames.
    """

    frame_ids: tuple[str, ...]
    frame_start: Int64[ndarray, " bound"]
    name: Shaped[ndarray, " object"]
    truncation: Float64[ndarray, " object"]
    occlusion: Float64[ndarray, " object"]
    alpha_rad: Float64[ndarray, " object"]
    bbox_px: Float64[ndarray, "object 4"]
    size_m: Float64[ndarray, "object 3"]
    location_m: Float64[ndarray, "object 3"]
    yaw_rad: Float64[ndarray, " object"]
    score: Float64[ndarray, " object"]

    def __post_init__(self) -> None:
        start = np.asarray(self.frame_start)
        expected = {"bbox_px": (len(self), 4), "size_m": (len(self), 3), "location_m": (len(self), 3)}
        for column in self.columns():
            shape = np.shape(getattr(self, column))
            if shape != expected.get(column, (len(self),)):
                raise ValueError(f"{column} has shape {shape}, but there are {len(self)} names")
        if (
            len(start) != len(self.frame_ids) + 1
            or start[0] != 0
            or start[-1] != len(self)
            or (np.diff(start) < 0).any()
        ):
            raise ValueError(
                f"frame_start must rise from 0 to {len(self)} in {len(self.frame_ids)} steps, one a frame, got {start}"
            )

    def __len__(self) -> int:
        return len(self.name)

    @classmethod
    def columns(cls) -> list[str]:
        """Names of the arrays that have one row per object."""
        return [field.name for field in fields(cls) if field.name not in ("frame_ids", "frame_start")]

    def frame(self, index: int) -> "KittiObjects":
        """The objects of one frame."""
        rows = slice(self.frame_start[index], self.frame_start[index + 1])
        frame_start = np.array([0, rows.stop - rows.start])
        return KittiObjects(
            (self.frame_ids[index],), frame_start, **{column: getattr(self, column)[rows] for column in self.columns()}
        )


def join_frames(parts: Sequence[KittiObjects]) -> KittiObjects:
    """Put tables of different frames one after the other."""
    counts = np.concatenate([[0], *(np.diff(part.frame_start) for part in parts)])
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in KittiObjects.columns()}
    return KittiObjects(tuple(chain.from_iterable(part.frame_ids for part in parts)), np.cumsum(counts), **columns)


def read_frame_ids(path: Path) -> list[str]:
    """Read the frames of a split: one name per line, blank lines skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it names no frame, or one twice.
    """
    line_of: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        frame_id = line.strip()
        if frame_id in line_of:
            raise ValueError(f"{path}:{number}: frame {frame_id} is already on line {line_of[frame_id]}")
        if frame_id:
            line_of[frame_id] = number
    if not line_of:
        raise ValueError(f"{path}: the list is empty")
    return list(line_of)


def list_frame_ids(folder: Path) -> list[str]:
    """Names of the frames that have a ``.txt`` file in ``folder``, sorted.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    names = os.listdir(folder)  # noqa: PTH208 - a Path for each of 7,481 files takes longer than reading the folder
    return sorted(name.removesuffix(".txt") for name in names if name.endswith(".txt"))


def read_kitti_labels(folder: Path, frame_ids: Sequence[str]) -> KittiObjects:
    """Read ground truth.

    Args:
        folder: Usually ``training/label_2``; it may hold further frames.
        frame_ids: Frames to read, in this order.

    Returns:
        All objects, ``DontCare`` areas included. The score is that of the file where there is one, else NaN.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: a line has not 15 or 16 columns, or a value is not a finite number; the message names file and line.
    """
    if frame_ids:  # a root with test frames alone has no folder of labels
        _check_files(folder, frame_ids, "label")
    return _read_objects(folder, frame_ids, (len(LABEL_COLUMNS), len(RESULT_COLUMNS)))


def read_kitti_results(folder: Path, frame_ids: Sequence[str]) -> KittiObjects:
    """Read detections.

    Args:
        folder: One file per frame; a frame without detections has an empty file.
        frame_ids: Frames to read, in this order; ``folder`` must hold these and no others.

    Returns:
        All detections with their scores.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: there is a file for another frame, a line has not 16 columns, or a value is not a finite number; the
            message names file and line.
    """
    unknown = _check_files(folder, frame_ids, "result") - set(frame_ids)
    if unknown:
        raise ValueError(
            f"{folder / min(unknown)}.txt is for a frame that is not evaluated ({len(unknown)} such files): "
            f"remove it, or evaluate a split that names the frame"
        )
    return _read_objects(folder, frame_ids, (len(RESULT_COLUMNS),))


def write_kitti_results(folder: Path, detections: KittiObjects) -> None:
    """Write one result file per frame, also for frames without detections.

    Numbers are the shortest that read back as the same float64, so that an evaluation of the files equals that of
    ``detections``. Each file appears complete or not at all.

    Args:
        folder: Made if missing; files of the same frames are replaced.
        detections: With finite scores.

    Raises:
        ValueError: a value is NaN or infinite, or a class name is not a single word.
        OSError: the disk is full, or the folder cannot be written to; the message names the file.
    """
    _write_objects(folder, detections, _numbers(detections))


def write_kitti_labels(folder: Path, objects: KittiObjects) -> None:
    """Write one label file per frame, without scores; otherwise as :func:`write_kitti_results`."""
    _write_objects(folder, objects, _numbers(objects)[:, :-1])


def _write_objects(folder: Path, objects: KittiObjects, table: Float64[ndarray, "object column"]) -> None:
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        frame = objects.frame_ids[np.searchsorted(objects.frame_start, row, side="right") - 1]
        raise ValueError(
            f"frame {frame}: {RESULT_COLUMNS[column + 1]} of a {objects.name[row]} is {table[row, column]}"
        )
    for name in np.unique(objects.name):
        if len(name.split()) != 1 or not name.isprintable():
            raise ValueError(f"class {str(name)!r} cannot be written to a result file: a class is one word there")
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        " ".join([name, *(repr(value).removesuffix(".0") for value in row)]) + "\n"
        for name, row in zip(objects.name, table.tolist(), strict=True)
    ]
    for frame_id, start, stop in zip(objects.frame_ids, objects.frame_start[:-1], objects.frame_start[1:], strict=True):
        write_atomically(folder / f"{frame_id}.txt", "".join(lines[start:stop]).encode())


def _numbers(objects: KittiObjects) -> Float64[ndarray, "object 15"]:
    return np.column_stack([getattr(objects, column) for column in KittiObjects.columns()[1:]])


def _check_files(folder: Path, frame_ids: Sequence[str], kind: str) -> set[str]:
    """Frames that have a file in ``folder``; all of ``frame_ids`` must."""
    present = set(list_frame_ids(folder))
    missing = [frame_id for frame_id in frame_ids if frame_id not in present]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no {kind} file for {len(missing)} of {len(frame_ids)} frames, the first are "
            f"{', '.join(missing[:3])}: each frame needs one, empty where there is no object, "
            f"or leave these frames out of the split"
        )
    return present


def _read_objects(folder: Path, frame_ids: Sequence[str], num_columns: Sequence[int]) -> KittiObjects:
    rows: list[list[str]] = []
    frame_start = [0]
    for frame_id in frame_ids:
        rows += filter(None, map(str.split, read_lines(folder / f"{frame_id}.txt")))
        frame_start.append(len(rows))
    numbers = _parse(rows, num_columns)
    if numbers is None:
        raise ValueError(next(_errors(folder, frame_ids, num_columns)))
    return KittiObjects(
        frame_ids=tuple(frame_ids),
        frame_start=np.array(frame_start),
        name=np.array([row[0] for row in rows], dtype=np.str_),
        truncation=numbers[:, 0],
        occlusion=numbers[:, 1],
        alpha_rad=numbers[:, 2],
        bbox_px=numbers[:, 3:7],
        size_m=numbers[:, 7:10],
        location_m=numbers[:, 10:13],
        yaw_rad=numbers[:, 13],
        score=numbers[:, 14],
    )


def _parse(rows: list[list[str]], num_columns: Sequence[int]) -> Float64[ndarray, "object 15"] | None:
    """The numbers of all rows, NaN where there is no score; None when some row is not well-formed.

    Applies the rules of :func:`parse_number` to all words at once: one call for each would take longer than the
    evaluation.
    """
    if not set(map(len, rows)) <= set(num_columns):
        return None
    has_score = np.array([len(row) == len(RESULT_COLUMNS) for row in rows], dtype=bool)
    words = list(chain.from_iterable(row if len(row) == len(RESULT_COLUMNS) else [*row, "0"] for row in rows))
    del words[:: len(RESULT_COLUMNS)]  # the types
    joined = "".join(words)
    if not joined.isascii() or "_" in joined:
        return None
    try:
        numbers = np.fromiter(map(float, words), np.float64, len(words)).reshape(len(rows), len(RESULT_COLUMNS) - 1)
    except ValueError:
        return None
    if not np.isfinite(numbers).all():
        return None
    numbers[~has_score, -1] = np.nan
    return numbers


def _errors(folder: Path, frame_ids: Iterable[str], num_columns: Sequence[int]) -> Iterator[str]:
    """What is wrong with the files, line by line."""
    for frame_id in frame_ids:
        path = folder / f"{frame_id}.txt"
        for number, line in enumerate(read_lines(path), start=1):
            row = line.split()
            where = f"{path}:{number}"
            if row and len(row) not in num_columns:
                expected = " or ".join(map(str, num_columns))
                columns = " ".join(RESULT_COLUMNS[: num_columns[-1]])
                yield f"{where}: expected {expected} columns ({columns}), got {len(row)}: {line[:200]!r}"
            for column, word in zip(RESULT_COLUMNS[1:], row[1:], strict=False):
                try:
                    parse_number(word)
                except ValueError as error:
                    yield f"{where}: {column} {error}"
