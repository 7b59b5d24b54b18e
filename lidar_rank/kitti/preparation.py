"""From a KITTI-format root to what training reads: reduced clouds, an object database and info files."""

import contextlib
import json
import os
import pickle
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from lidar_rank.geometry.points import points_in_boxes
from lidar_rank.kitti.calibration import Calibration, read_calibration
from lidar_rank.kitti.classes import (
    DONT_CARE,
    LIST_NAME,
    STATISTICS_NAME,
    ClassStatistics,
    measure_classes,
    read_classes,
    write_statistics,
)
from lidar_rank.kitti.files import (
    BYTES_PER_POINT,
    check_points_size,
    read_png_size,
    read_points,
    remove_temporary_files,
    write_atomically,
)
from lidar_rank.kitti.infos import (
    DATABASE_FOLDER,
    AnnotatedFrame,
    database_entries,
    frame_info,
    infos_content,
)
from lidar_rank.kitti.labels import read_kitti_labels
from lidar_rank.kitti.root import SPLITS, Frame, read_splits

INFO_NAMES: Final = {split: f"kitti_infos_{split}.pkl" for split in SPLITS}
DATABASE_INFOS_NAME: Final = "kitti_dbinfos_train.pkl"
JOURNAL_NAME: Final = "kitti_preparation.jsonl"
FORMAT_VERSION: Final = 1
"""Part of every journal line; increase it when the same inputs are to give other outputs."""


@dataclass(frozen=True)
class PreparationSummary:
    """What :func:`prepare_kitti` found and did.

    Attributes:
        frames: Number of frames by split.
        in_train_and_val: Frames that are in both lists, on which AP says nothing of new scans.
        prepared: Frames that this call processed.
        kept: Frames whose outputs of an earlier call are complete and still fit their inputs.
        database: Objects in the database by class.
        ignored: Number of labelled objects by class, for classes that the root does not list; no output has them.
        classes: Sizes of the objects that detectors train on, by class.
        has_camera: Whether the scans have a camera.
    """

    frames: dict[str, int]
    in_train_and_val: int
    prepared: int
    kept: int
    database: dict[str, int]
    ignored: dict[str, int]
    classes: dict[str, ClassStatistics]
    has_camera: bool


def prepare_kitti(
    root: Path, *, image_size: tuple[int, int] | None = None, jobs: int | None = None, progress: bool = True
) -> PreparationSummary:
    """Prepare a KITTI-format root for mmdet3d's stock KittiDataset and DataBaseSampler.

    Writes, below ``root``: ``*/velodyne_reduced`` (the points inside the image), ``kitti_gt_database`` and
    ``kitti_dbinfos_train.pkl`` (the points inside each training object), ``kitti_infos_{train,val,trainval,test}.pkl``,
    and ``kitti_classes.json`` (numbers and sizes of objects by class). Scans without a camera are not cut: detectors
    read them from ``velodyne``.
    Everything but the values of the scans is checked before the first file is written. An interrupted call can be
    repeated: it keeps the frames whose outputs are complete and whose inputs have the same size and modification time.

    Args:
        root: Folder in KITTI format; ``data/README.md`` says what it must hold. Any of the splits may be
            absent. Without ``train`` there is no object database.
        image_size: Width and height in pixels for frames with a camera but without an image.
        jobs: Threads; by default one per processor.
        progress: Show progress bars.

    Returns:
        What was found and done.

    Raises:
        FileNotFoundError: the root, a part of it, or a file of a listed frame is missing.
        ValueError: a file is malformed, or an option is out of range; the message names the file.
        OSError: an output cannot be written, for example because the disk is full.
    """
    root = Path(root)
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    if jobs < 1 or min(image_size or (1,)) < 1:
        raise ValueError(f"jobs and image_size must be at least 1, got {jobs=} and {image_size=}")
    splits = read_splits(root)
    annotated, ignored = _annotate(root, splits, image_size, progress)
    has_camera = _has_camera(root, annotated.values())
    train = set(splits.get("train", []))
    classes = _measure_classes(root, [annotated[frame] for frame in splits.get("train", annotated)])
    if train and not classes and not has_camera:
        there = f"; the labels have {', '.join(f'{count} {name}' for name, count in ignored.items())}"
        raise ValueError(
            f"{root}: no training frame has an object of the classes {', '.join(read_classes(root))}"
            f"{there if ignored else ''}: correct {root / LIST_NAME} or the labels"
        )
    tasks = {frame: _Task(root, annotated[frame], in_database=frame in train) for frame in annotated}
    _make_folders(root, annotated.values(), with_database=bool(train))
    (root / STATISTICS_NAME).unlink(missing_ok=True)
    journal = _Journal(root / JOURNAL_NAME)
    journal.keep([task.key for task in tasks.values() if task.is_done(journal.records.get(task.key))])
    pending = [task for task in tasks.values() if task.key not in journal.records]
    if pending:
        # If this run is killed from here on, it must not leave annotation files that name files which do not exist.
        for name in (DATABASE_INFOS_NAME, *INFO_NAMES.values()):
            (root / name).unlink(missing_ok=True)
        _run(pending, journal, jobs, progress)
    counts = {frame: journal.records[task.key].points_in_objects for frame, task in tasks.items()}
    if classes:
        write_statistics(root, classes)
    return PreparationSummary(
        frames={split: len(frames) for split, frames in splits.items()},
        in_train_and_val=len(train & set(splits.get("val", []))),
        prepared=len(pending),
        kept=len(tasks) - len(pending),
        database=_write_infos(root, splits, annotated, counts, progress),
        ignored=ignored,
        classes=classes,
        has_camera=has_camera,
    )


@dataclass(frozen=True)
class _Record:
    """Journal entry of a frame whose outputs are complete.

    Attributes:
        inputs: State of the inputs; see :attr:`_Task.inputs`.
        num_points: Points that detectors see: those of the reduced cloud, or without a camera of the whole one.
        points_in_objects: Number of them inside each object, without DontCare areas.
    """

    inputs: list[int]
    num_points: int
    points_in_objects: list[int]


@dataclass(frozen=True, eq=False)
class _Task:
    """Preparation of one frame: where its outputs are, whether they are complete, and how to make them."""

    root: Path
    annotated: AnnotatedFrame
    in_database: bool

    @property
    def key(self) -> str:
        """Name of the frame in the journal."""
        return f"{self.annotated.frame.folder.name}/{self.annotated.frame.name}"

    @cached_property
    def inputs(self) -> list[int]:
        """Everything that the outputs depend on; files by their size and modification time."""
        frame = self.annotated.frame
        paths = [frame.points_path, frame.calibration_path, *([frame.label_path] if frame.is_labelled else [])]
        stats = [path.stat() for path in paths]
        files = [value for stat in stats for value in (stat.st_size, stat.st_mtime_ns)]
        classes = zlib.crc32(" ".join(self.annotated.classes).encode())
        return [FORMAT_VERSION, int(self.in_database), *(self.annotated.image_size or (0, 0)), classes, *files]

    @cached_property
    def database_paths(self) -> list[Path]:
        """Files of the objects in the database; none outside the train split."""
        return [self.root / path for path in self.annotated.database_paths] if self.in_database else []

    def is_done(self, record: _Record | None) -> bool:
        """Whether ``record`` was made from these inputs, and the outputs exist with the sizes that it states."""
        if record is None or record.inputs != self.inputs:
            return False
        sizes: dict[Path, int] = {}
        if self.annotated.calibration.has_camera:
            sizes[self.annotated.frame.reduced_points_path] = record.num_points
        sizes |= zip(self.database_paths, record.points_in_objects, strict=False)
        return all(
            path.is_file() and path.stat().st_size == num_points * BYTES_PER_POINT for path, num_points in sizes.items()
        )

    def run(self) -> _Record:
        """Write the outputs."""
        frame, boxes = self.annotated.frame, self.annotated.lidar_boxes
        points = read_points(frame.points_path)
        if self.annotated.image_size is not None:
            points = points[self.annotated.calibration.in_image(points[:, :3], self.annotated.image_size)]
            write_atomically(frame.reduced_points_path, points.tobytes())
        inside = points_in_boxes(points, boxes)
        origins = np.insert(boxes[:, :3], 3, 0, axis=1).astype(np.float32)
        for path, origin, mask in zip(self.database_paths, origins, inside, strict=False):
            write_atomically(path, (points[mask] - origin).tobytes())
        return _Record(self.inputs, len(points), inside.sum(axis=1).tolist())


class _Journal:
    """The frames that are prepared: one line of JSON each, added when the outputs are complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, _Record] = {}
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            # A run that was killed may have left a part of a line: that frame is prepared again.
            with contextlib.suppress(ValueError, TypeError):
                key, record = json.loads(line)
                self.records[key] = _Record(**record)

    def keep(self, keys: Collection[str]) -> None:
        """Remove all other frames."""
        self.records = {key: self.records[key] for key in keys}
        write_atomically(self.path, "".join(map(self._line, self.records)).encode())

    def add(self, key: str, record: _Record) -> None:
        """Add one frame."""
        self.records[key] = record
        try:
            with self.path.open("a") as file:
                file.write(self._line(key))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _line(self, key: str) -> str:
        return json.dumps([key, asdict(self.records[key])]) + "\n"


def _annotate(
    root: Path, splits: Mapping[str, Sequence[Frame]], image_size: tuple[int, int] | None, progress: bool
) -> tuple[dict[Frame, AnnotatedFrame], dict[str, int]]:
    """Read and check labels, calibrations and image sizes; also count the objects of unknown classes."""
    frames = sorted({frame for frames in splits.values() for frame in frames})
    names = [frame.name for frame in frames if frame.is_labelled]
    labels = read_kitti_labels(root / "training" / "label_2", names)
    classes = read_classes(root)
    is_known = np.isin(labels.name, [*classes, DONT_CARE])
    bounds = dict(zip(names, zip(labels.frame_start[:-1], labels.frame_start[1:], strict=True), strict=True))
    annotated = {}
    for frame in tqdm(frames, desc="checking", unit="frame", disable=not progress):
        check_points_size(frame.points_path)
        start, stop = bounds[frame.name] if frame.is_labelled else (0, 0)
        calibration = read_calibration(frame.calibration_path)
        annotated[frame] = AnnotatedFrame(
            frame,
            calibration,
            _image_size(frame, calibration, image_size),
            classes,
            labels,
            rows=start + np.flatnonzero(is_known[start:stop]),
        )
        _check_box_sizes(annotated[frame])
    return annotated, dict(Counter(labels.name[~is_known].tolist()))


def _has_camera(root: Path, annotated: Collection[AnnotatedFrame]) -> bool:
    """Whether the frames have a camera, which all must have or none."""
    by_camera = {each.calibration.has_camera: each.frame.calibration_path for each in annotated}
    if len(by_camera) > 1:
        raise ValueError(
            f"{root} mixes scans with and without a camera: {by_camera[True]} has P0 to P3, {by_camera[False]} has not:"
            " put them into two roots"
        )
    return next(iter(by_camera))


def _measure_classes(root: Path, annotated: Sequence[AnnotatedFrame]) -> dict[str, ClassStatistics]:
    names = np.concatenate([each.labels.name[each.object_rows] for each in annotated])
    boxes = np.concatenate([each.lidar_boxes for each in annotated])
    try:
        return measure_classes(annotated[0].classes, names, boxes)
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from None


def _image_size(frame: Frame, calibration: Calibration, default: tuple[int, int] | None) -> tuple[int, int] | None:
    if not calibration.has_camera:
        return None
    if frame.image_path.is_file():
        return read_png_size(frame.image_path)
    if default is None:
        raise FileNotFoundError(
            f"no image {frame.image_path}: give its width and height in pixels, as image_size or on the command line as"
            " --image-size 1242 375"
        )
    return default


def _check_box_sizes(annotated: AnnotatedFrame) -> None:
    labels, rows = annotated.labels, annotated.object_rows
    flat = rows[(labels.size_m[rows] <= 0).any(axis=1)]
    if flat.size:
        name, size_m = labels.name[flat[0]], labels.size_m[flat[0]].tolist()
        raise ValueError(f"{annotated.frame.label_path}: height, width, length of a {name} are {size_m}, expected > 0")


def _make_folders(root: Path, frames: Collection[AnnotatedFrame], *, with_database: bool) -> None:
    """Make the output folders, and delete the unfinished files of runs that were killed."""
    folders = {root, *(each.frame.reduced_points_path.parent for each in frames if each.calibration.has_camera)}
    for folder in folders | ({root / DATABASE_FOLDER} if with_database else set()):
        folder.mkdir(exist_ok=True)
        remove_temporary_files(folder)


def _run(pending: Sequence[_Task], journal: _Journal, jobs: int, progress: bool) -> None:
    total, done = len(pending) + len(journal.records), len(journal.records)
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=total, initial=done, desc="preparing", unit="frame", disable=not progress) as bar,
    ):
        try:
            for task, record in zip(pending, pool.map(_Task.run, pending), strict=True):
                journal.add(task.key, record)
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_infos(
    root: Path,
    splits: Mapping[str, Sequence[Frame]],
    annotated: Mapping[Frame, AnnotatedFrame],
    counts: Mapping[Frame, list[int]],
    progress: bool,
) -> dict[str, int]:
    """Write all info files, delete those of splits that are gone; return the number of database objects by class."""
    frames_shown = tqdm(annotated, desc="writing infos", unit="frame", disable=not progress)
    infos = {frame: frame_info(annotated[frame], counts[frame]) for frame in frames_shown}
    for split, name in INFO_NAMES.items():
        if split in splits:
            content = infos_content([infos[frame] for frame in splits[split]], annotated[splits[split][0]].classes)
            write_atomically(root / name, pickle.dumps(content))
        else:
            (root / name).unlink(missing_ok=True)
    if "train" not in splits:
        (root / DATABASE_INFOS_NAME).unlink(missing_ok=True)
        return {}
    database: dict[str, list[dict[str, Any]]] = defaultdict(list)
    entries = (entry for frame in splits["train"] for entry in database_entries(annotated[frame], counts[frame]))
    for group_id, entry in enumerate(entries):
        database[entry["name"]].append(entry | {"group_id": group_id})
    write_atomically(root / DATABASE_INFOS_NAME, pickle.dumps(dict(database)))
    return {name: len(entries) for name, entries in sorted(database.items())}
