"""Write a KITTI-format data set of simulated scans."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from lidar_rank.datasets.calibration import Calibration, format_calibration, read_calibration
from lidar_rank.datasets.kitti_root import Frame
from lidar_rank.datasets.simulation.camera import KITTI_CALIBRATION
from lidar_rank.datasets.simulation.labels import label_lines
from lidar_rank.datasets.simulation.scanner import FULL_TURN_DEG, camera_window_deg, scan
from lidar_rank.datasets.simulation.sizes import CLASSES
from lidar_rank.datasets.simulation.world import check_classes, make_world

NOTE: Final = "simulation.json"
MAX_SCANS: Final = 1_000_000  # six digits name a frame
VIEWS: Final = ("front", "full")
# Upper ends of what one frame takes on disk, with labels and calibration.
_BYTES_PER_SCAN: Final = {"front": 400_000, "full": 2_200_000}
_BYTES_PER_IMAGE: Final = 1_000_000
_FRONT_HALF_ANGLE_RAD: Final = np.radians(46.0)


@dataclass(frozen=True)
class _Job:
    """What every worker needs to know."""

    root: Path
    seed: int
    view: str
    images: bool
    classes: tuple[str, ...]
    calibration: Calibration


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
) -> Path:
    """Simulate a KITTI-format data set: ``training/{velodyne,image_2,label_2,calib}``, ``ImageSets`` and a note.

    Scan i depends on ``seed`` and i alone, so that the bytes are the same whatever ``jobs`` is, and a longer data set
    begins with the scans of a shorter one.

    Args:
        out: Folder to make; an existing one must be empty or a simulated data set, which is replaced.
        scans: Number of frames.
        seed: Of all chance.
        jobs: Number of processes.
        images: Whether to render camera images.
        view: ``"front"`` casts the beams that can fall into the image, ``"full"`` a whole turn.
        val: Number of held-back frames, the last ones; a fifth (at least one where there are two frames) by default.
        classes: Classes that appear in the scenes.
        calibration: KITTI calibration file to use in place of the one that most KITTI frames share.

    Returns:
        ``out`` as a path.

    Raises:
        ValueError: a number is out of range, a class or view is unknown, or the calibration file is broken.
        FileExistsError: ``out`` holds something that is no simulated data set.
        OSError: the disk has too little room.
    """
    out = Path(out)
    val = (scans + 4) // 5 if val is None and scans > 1 else val or 0
    _check_settings(scans, jobs, view, val, classes)
    job = _Job(
        out,
        seed,
        view,
        images,
        tuple(classes),
        KITTI_CALIBRATION if calibration is None else read_calibration(calibration),
    )
    _check_folder(out)
    _check_room(out, scans * (_BYTES_PER_SCAN[view] + images * _BYTES_PER_IMAGE))
    _empty(out)
    for folder in ("velodyne", "label_2", "calib", *(["image_2"] if images else [])):
        (out / "training" / folder).mkdir(parents=True)
    _write_note(job, scans, val)
    _run(job, scans, jobs)
    _write_splits(out, scans, val)
    return out


def _check_settings(scans: int, jobs: int, view: str, val: int, classes: Sequence[str]) -> None:
    if not 1 <= scans <= MAX_SCANS:
        raise ValueError(f"scans must be from 1 to {MAX_SCANS}, got {scans}")
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    if view not in VIEWS:
        raise ValueError(f"view must be one of {VIEWS}, got {view!r}")
    if not 0 <= val < scans:
        raise ValueError(
            f"val must be from 0 to scans - 1 = {scans - 1} so that a frame is left to train on, got {val}"
        )
    check_classes(classes)


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: name a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / NOTE).is_file():
        raise FileExistsError(f"{out} holds files but no {NOTE}, so it is no simulated data set: name another folder")


def _check_room(out: Path, needed: int) -> None:
    parent = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise OSError(f"{out}: about {needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free: simulate fewer scans")


def _empty(out: Path) -> None:
    """Make the folder, without what an earlier simulation (or a preparation of it) put there."""
    out.mkdir(parents=True, exist_ok=True)
    for entry in out.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _write_note(job: _Job, scans: int, val: int) -> None:
    note = {
        "made by": "lidar-rank simulate",
        "scans": scans,
        "seed": job.seed,
        "view": job.view,
        "images": job.images,
        "val": val,
        "classes": list(job.classes),
    }
    (job.root / NOTE).write_text(json.dumps(note, indent=2) + "\n")


def _write_splits(out: Path, scans: int, val: int) -> None:
    names = [f"{i:06d}" for i in range(scans)]
    splits = {"train": names[: scans - val], "val": names[scans - val :], "trainval": names}
    (out / "ImageSets").mkdir()
    for split, members in splits.items():
        if members:
            (out / "ImageSets" / f"{split}.txt").write_text("\n".join(members) + "\n")


def _run(job: _Job, scans: int, jobs: int) -> None:
    # A forked child would inherit locks of the threads that libraries have started here.
    context = multiprocessing.get_context("spawn")
    work = partial(_write_frame, job)
    with tqdm(total=scans, desc="simulate", unit="scan") as progress:
        if jobs == 1:
            for index in range(scans):
                work(index)
                progress.update()
            return
        with context.Pool(min(jobs, scans), initializer=_one_thread) as pool:
            for _ in pool.imap_unordered(work, range(scans), chunksize=min(16, -(-scans // jobs))):
                progress.update()


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"


def _write_frame(job: _Job, index: int) -> None:
    """Simulate one frame and write its files."""
    rng = np.random.default_rng(np.random.SeedSequence(job.seed, spawn_key=(index,)))
    full = job.view == "full"
    world = make_world(rng, half_angle_rad=np.pi if full else _FRONT_HALF_ANGLE_RAD, classes=job.classes)
    points, owner = scan(world.scene, rng, FULL_TURN_DEG if full else camera_window_deg(job.calibration))
    frame = Frame(job.root / "training", f"{index:06d}")
    points.tofile(frame.points_path)
    num_points = np.bincount(owner[owner >= 0], minlength=len(world.objects))
    lines = label_lines(world, job.calibration, num_points, rng)
    frame.label_path.write_text("".join(line + "\n" for line in lines))
    frame.calibration_path.write_text(format_calibration(job.calibration))
