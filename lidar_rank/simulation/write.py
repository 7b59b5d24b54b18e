"""Write a KITTI-format data set of simulated scans."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from tqdm import tqdm

from lidar_rank.kitti.calibration import read_calibration
from lidar_rank.kitti.files import write_atomically
from lidar_rank.processes import process_pool
from lidar_rank.simulation.beams import FULL_TURN_DEG, camera_window_deg
from lidar_rank.simulation.camera import KITTI_CALIBRATION
from lidar_rank.simulation.frame import write_frame
from lidar_rank.simulation.sizes import CLASSES, check_classes

NOTE_NAME: Final = "simulation.json"
# Everything that a simulation and the preparation of its result write into a root.
OWN_ENTRIES: Final = ("training", "ImageSets", "kitti_*", NOTE_NAME)
MAX_SCANS: Final = 1_000_000  # six digits name a frame
VIEWS: Final = ("front", "full")
# Upper estimates of the disk space of one frame.
BYTES_PER_SCAN: Final = {"front": 450_000, "full": 2_300_000}
BYTES_PER_IMAGE: Final = 1_200_000


def simulate_kitti(
    out: Path | str,
    *,
    scans: int,
    seed: int = 0,
    jobs: int = 1,
    images: bool = True,
    view: str = "front",
    val: int | None = None,
    classes: Sequence[str] = CLASSES,
    calibration: Path | None = None,
    shard: tuple[int, int] = (1, 1),
) -> None:
    """Simulate a KITTI-format data set: ``training/{velodyne,image_2,label_2,calib}``, ``ImageSets`` and a note.

    Frame i depends on ``seed`` and i alone: the bytes are the same whatever ``jobs`` is, scans and labels are the same
    with and without images, and a longer data set begins with the frames of a shorter one. Calls with all shards, at
    the same time or one after the other and on one disk, write the bytes of one call without.

    Args:
        out: Folder to write. An earlier simulated data set in it is replaced; other files are left alone.
        scans: Number of frames.
        seed: Seed of all randomness, at least 0.
        jobs: Number of processes.
        images: Whether to render camera images.
        view: ``"front"`` casts only the rays that can fall into the image, ``"full"`` a whole turn.
        val: Number of validation frames, which are the last ones; by default a fifth of all.
        classes: Classes of labelled objects that appear in the scenes.
        calibration: KITTI calibration file to use instead of the calibration that most KITTI frames share.
        shard: ``(k, n)`` writes every n-th frame from the k-th on, k from 1 to n. What other shards have written stays.

    Raises:
        ValueError: a number is out of range, a class or view is unknown, or the calibration file is broken.
        FileExistsError: ``out`` is a file, holds files but no simulated data set, or for a shard one of other settings.
        FileNotFoundError: the calibration file does not exist.
        OSError: the disk has too little free space, ``out`` cannot be written to, or one of the processes was killed.
    """
    out = Path(out)
    val = scans // 5 if val is None else val
    _check_settings(scans, seed, jobs, view, val)
    _check_shard(shard)
    check_classes(classes)
    used_calibration = KITTI_CALIBRATION if calibration is None else read_calibration(calibration)
    settings = {"scans": scans, "val": val, "seed": seed, "view": view, "images": images, "classes": list(classes)}
    note = json.dumps({"made_by": "lidar-rank simulate", **settings}, indent=2) + "\n"
    frames = range(shard[0] - 1, scans, shard[1])
    _check_folder(out, note if shard[1] > 1 else None)
    _check_room(out, len(frames) * (BYTES_PER_SCAN[view] + images * BYTES_PER_IMAGE))
    window_deg = FULL_TURN_DEG if view == "full" else camera_window_deg(used_calibration)
    if shard[1] == 1:
        _remove_earlier(out)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / NOTE_NAME, note.encode())  # first, so that other shards know the folder
    _make_folders(out, images)
    work = partial(
        write_frame,
        folder=out / "training",
        seed=seed,
        view=view,
        images=images,
        classes=tuple(classes),
        calibration=used_calibration,
        window_deg=window_deg,
    )
    _write_frames(work, frames, jobs)
    _write_splits(out, scans, val)


def _check_settings(scans: int, seed: int, jobs: int, view: str, val: int) -> None:
    if not 1 <= scans <= MAX_SCANS:
        raise ValueError(f"scans must be from 1 to {MAX_SCANS}, got {scans}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    if view not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}, got {view!r}")
    if not 0 <= val < scans:
        raise ValueError(
            f"val must be from 0 to {scans - 1}, so that at least one scan is left for training, got {val}"
        )


def _check_shard(shard: tuple[int, int]) -> None:
    index, count = shard
    if not 1 <= index <= count:
        raise ValueError(f"shard must be K of N with K from 1 to N, such as 2 of 8, got {index} of {count}")


def _check_folder(out: Path, note_of_shard: str | None) -> None:
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: name a folder instead")
    note = out / NOTE_NAME
    if note_of_shard is not None and note.is_file() and note.read_text() != note_of_shard:
        raise FileExistsError(
            f"{out} holds a simulation with other settings ({NOTE_NAME}): name another folder, or remove it"
        )
    # The temporary file of a note, which another shard is writing, is no file of the user's.
    others = [path for path in out.iterdir() if not path.name.startswith(f".{NOTE_NAME}")] if out.is_dir() else []
    if others and not note.is_file():
        raise FileExistsError(
            f"{out} holds files but no simulated data set (there is no {NOTE_NAME}): name another folder"
        )


def _check_room(out: Path, needed: int) -> None:
    parent = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise OSError(
            f"{out} needs about {needed / 1e6:.0f} MB but only {free / 1e6:.0f} MB are free: simulate fewer scans"
        )


def _remove_earlier(out: Path) -> None:
    """Remove what an earlier simulation and the preparation of its result left in a root."""
    for entry in (path for name in OWN_ENTRIES for path in out.glob(name)):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _make_folders(out: Path, images: bool) -> None:
    for folder in ("velodyne", "label_2", "calib", *(["image_2"] if images else [])):
        (out / "training" / folder).mkdir(parents=True, exist_ok=True)
    (out / "ImageSets").mkdir(exist_ok=True)


def _write_splits(out: Path, scans: int, val: int) -> None:
    names = [f"{index:06d}" for index in range(scans)]
    for split, members in (("train", names[: scans - val]), ("val", names[scans - val :]), ("trainval", names)):
        if members:
            write_atomically(out / "ImageSets" / f"{split}.txt", ("\n".join(members) + "\n").encode())


def _write_frames(work: Callable[[int], None], frames: Sequence[int], jobs: int) -> None:
    with tqdm(total=len(frames), desc="simulate", unit="scan") as progress:
        if jobs == 1:
            for index in frames:
                work(index)
                progress.update()
            return
        with _one_thread_each(), process_pool(min(jobs, len(frames) or 1)) as pool:
            try:
                for _ in pool.map(work, frames, chunksize=4):
                    progress.update()
            except BrokenProcessPool as error:
                raise ChildProcessError(
                    f"one of {jobs} processes that simulate was killed, as where memory runs out: use fewer jobs"
                ) from error


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let the processes that are started inside use one thread each, because they already share the cores."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
