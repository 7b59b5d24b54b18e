"""Evaluation of a folder of result files against a folder of label files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from lidar_rank.evaluation.distance import evaluate_by_distance
from lidar_rank.evaluation.kitti import KittiResult, evaluate_kitti
from lidar_rank.evaluation.rules import MIN_OVERLAP, thresholds
from lidar_rank.kitti.labels import (
    KittiObjects,
    list_frame_ids,
    read_frame_ids,
    read_kitti_labels,
    read_kitti_results,
)
from lidar_rank.kitti.range import describe_range, ignore_outside_range

FRAME_CHOICES: Final = ("labels", "results")
CHOICES_HELP: Final = (
    "say which frames count with --split FILE (those that it lists), --frames labels (all; a missing result file counts"
    " as nothing found) or --frames results (those with a result file); in Python with split and frames"
)


def evaluate_folders(
    label_dir: Path | str,
    result_dir: Path | str,
    split: Path | str | None = None,
    *,
    frames: str | None = None,
    classes: Sequence[str] | None = None,
    min_overlap: Mapping[str, float] | float | None = None,
    extra_overlaps: Sequence[float] = (),
    drop_at_min_height: bool = False,
    sampling: str | None = None,
    bands_m: Sequence[float] | None = None,
    range_m: Sequence[float] | None = None,
) -> KittiResult:
    """Evaluate KITTI result files like the object benchmark, or by distance.

    By default every frame of ``split``, or without one every frame of ``label_dir``, must have a result file, which is
    empty where nothing was found.

    Args:
        label_dir: Folder of label files, usually ``training/label_2``.
        result_dir: Folder of result files, one per frame.
        split: File that lists the frames to evaluate, such as ``ImageSets/val.txt``.
        frames: What frames without a result file mean. ``"labels"``: nothing was found in them, so that their objects
            count as missed. ``"results"``: they are left out. None: they are an error.
        classes: As in :func:`evaluate_kitti`, or with ``bands_m`` in :func:`evaluate_by_distance`.
        min_overlap: IoU that a detection must exceed, for all classes or by class; the default for others.
        extra_overlaps: As there.
        drop_at_min_height: As in :func:`evaluate_kitti`.
        sampling: As there.
        bands_m: Where bands of distance begin, for scans without a camera; None evaluates by KITTI's difficulties.
        range_m: x, y, z minimum, then x, y, z maximum of what the detector sees, in metres in the LiDAR frame. Objects
            whose centre lies outside, seen from above, are ignored, as with ``point_cloud_range`` of the evaluator in a
            config. Needs the calibrations, in ``calib`` beside ``label_dir``. None counts every object.

    Returns:
        The result; its ``frame_choice`` and ``object_choice`` say which frames and objects were evaluated.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: the folders hold different frames and neither ``split`` nor ``frames`` says which of them count, a
            file is not well-formed, or an option is out of range.
    """
    chosen = _choose_frames(Path(label_dir), Path(result_dir), None if split is None else Path(split), frames)
    ground_truth = read_kitti_labels(Path(label_dir), chosen.frame_ids)
    detections = _with_frames(read_kitti_results(Path(result_dir), chosen.with_result), chosen.frame_ids)
    if range_m is not None:
        ground_truth = ignore_outside_range(ground_truth, Path(label_dir).parent / "calib", range_m)
    if bands_m is None:
        classes = tuple(MIN_OVERLAP) if classes is None else classes
        result = evaluate_kitti(
            ground_truth,
            detections,
            classes=classes,
            min_overlap=thresholds(min_overlap, MIN_OVERLAP, classes),
            extra_overlaps=extra_overlaps,
            drop_at_min_height=drop_at_min_height,
            sampling=sampling or "official",
        )
    else:
        result = evaluate_by_distance(
            ground_truth,
            detections,
            classes=classes,
            min_overlap=min_overlap,
            extra_overlaps=extra_overlaps,
            edges_m=bands_m,
            sampling=sampling or "recall",
        )
    return replace(result, frame_choice=chosen.description, object_choice=describe_range(range_m))


@dataclass(frozen=True)
class _Chosen:
    """Frames to evaluate, those of them that have a result file, and a description of the choice."""

    frame_ids: list[str]
    with_result: list[str]
    description: str


def _choose_frames(label_dir: Path, result_dir: Path, split: Path | None, frames: str | None) -> _Chosen:
    if frames is not None and frames not in FRAME_CHOICES:
        raise ValueError(f"frames must be None or one of {FRAME_CHOICES}, got {frames!r}")
    results = list_frame_ids(result_dir)
    listed = list_frame_ids(label_dir) if split is None else read_frame_ids(split)
    source = label_dir if split is None else split
    has_result, is_listed = set(results), set(listed)
    found = [frame_id for frame_id in listed if frame_id in has_result]
    missing = [frame_id for frame_id in listed if frame_id not in has_result]
    # Results beyond a given split are refused where they are read.
    unlabelled = [frame_id for frame_id in results if frame_id not in is_listed] if split is None else []
    differences = []
    if missing:
        differences.append(f"{result_dir} has no file for {len(missing)} of the {len(listed)} frames of {source}")
        differences.append(f"the first is {missing[0]}")
    if unlabelled:
        differences.append(f"{label_dir} has no file for {len(unlabelled)} results, the first is {unlabelled[0]}")
    if (frames is None and missing) or unlabelled:
        raise ValueError(f"{', '.join(differences)}: {CHOICES_HELP}")
    if not missing:
        return _Chosen(listed, found, f"all {len(listed)} of {source}")
    if frames == "results":
        return _Chosen(found, found, f"the {len(found)} with a result file among the {len(listed)} of {source}")
    return _Chosen(
        listed,
        found,
        f"all {len(listed)} of {source}; {len(missing)} of them have no result file, which counts as nothing found",
    )


def _with_frames(objects: KittiObjects, frame_ids: Sequence[str]) -> KittiObjects:
    """The same objects among more frames, in which there are none."""
    counts = dict(zip(objects.frame_ids, np.diff(objects.frame_start).tolist(), strict=True))
    bounds = np.cumsum([0, *(counts.get(frame_id, 0) for frame_id in frame_ids)])
    return replace(objects, frame_ids=tuple(frame_ids), frame_start=bounds)
