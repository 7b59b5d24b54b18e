"""The file of a run: what ``lidar-rank analyze`` writes, and ``report`` and ``view`` show.

It holds all but the scans and images themselves, so that a run can be looked at where its data set is not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lidar_rank.analysis import Diagnosis
from lidar_rank.evaluation.distance import BAND_EDGES_M, check_edges
from lidar_rank.kitti.labels import KittiObjects


@dataclass(frozen=True, eq=False)
class Results:
    """What a detector found in the frames of a test, and what there was to find.

    Attributes:
        files: The scan or image of each frame, as the network read it.
        is_3d: Whether the boxes are those of scans. Boxes of images have ``bbox_px`` alone, and what their evaluation
            ignores is a ``DontCare`` area.
        has_difficulties: Whether KITTI's difficulties say which objects count; else all objects of a class do.
        min_overlap: IoU that a detection must exceed, for each class that is evaluated.
        sampling: Of recall, as in :func:`lidar_rank.evaluation.evaluate_kitti`.
        objects: Ground truth, as it was evaluated.
        detections: Of the same frames.
        bands_m: Where the bands of distance begin for which scans have an AP.

    Raises:
        ValueError: the tables are of different frames, or the bands do not rise from 0 or more.
    """

    files: tuple[Path, ...]
    is_3d: bool
    has_difficulties: bool
    min_overlap: Mapping[str, float]
    sampling: str
    objects: KittiObjects
    detections: KittiObjects
    bands_m: Sequence[float] = BAND_EDGES_M

    def __post_init__(self) -> None:
        check_edges(self.bands_m)
        if not len(self.files) == len(self.objects.frame_ids) == len(self.detections.frame_ids):
            counts = len(self.files), len(self.objects.frame_ids), len(self.detections.frame_ids)
            raise ValueError("files, objects and detections must be of the same frames, got {}, {}, {}".format(*counts))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file, which :meth:`from_json` reads."""
        return {
            "files": [str(path) for path in self.files],
            "is_3d": self.is_3d,
            "has_difficulties": self.has_difficulties,
            "min_overlap": dict(self.min_overlap),
            "sampling": self.sampling,
            "bands_m": list(self.bands_m),
            "objects": _table_to_json(self.objects),
            "detections": _table_to_json(self.detections),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Results":
        """Read the record that :meth:`to_json` returned.

        Raises:
            ValueError: a part is missing, or is not what ``to_json`` gives.
        """
        try:
            return cls(
                files=tuple(map(Path, record["files"])),
                is_3d=bool(record["is_3d"]),
                has_difficulties=bool(record["has_difficulties"]),
                min_overlap={str(name): float(overlap) for name, overlap in record["min_overlap"].items()},
                sampling=str(record["sampling"]),
                objects=_table_from_json(record["objects"]),
                detections=_table_from_json(record["detections"]),
                bands_m=tuple(map(float, record.get("bands_m", BAND_EDGES_M))),  # earlier versions had no others
            )
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
            raise ValueError(f"not what 'lidar-rank analyze' wrote: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, eq=False)
class Run:
    """A trained detector and its test.

    Attributes:
        diagnosis: Metrics, reversed pairs and distributions.
        settings: Of the training, as text, by their place in the config, such as ``model.bbox_head.loss_cls.type``.
        results: None where the test left no boxes to compare, such as one without labels.
    """

    diagnosis: Diagnosis
    settings: Mapping[str, str] = field(default_factory=dict)
    results: Results | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file, which :func:`read_run` reads."""
        results = None if self.results is None else self.results.to_json()
        return {**self.diagnosis.to_json(), "settings": dict(self.settings), "results": results}


def read_run(path: Path) -> Run:
    """Read a file that ``lidar-rank analyze`` wrote. A file of an earlier version has no settings and no results.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is damaged, or is another file; the message names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no run at {path}: 'lidar-rank analyze CONFIG CHECKPOINT --out {path}' writes one")
    content = path.read_bytes()
    try:
        record = json.loads(content)
        diagnosis = Diagnosis.from_json(record)
        settings = {str(name): str(value) for name, value in dict(record.get("settings") or {}).items()}
        results = record.get("results")
        return Run(diagnosis, settings, None if results is None else Results.from_json(results))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def _table_to_json(table: KittiObjects) -> dict[str, Any]:
    columns = {name: getattr(table, name).tolist() for name in KittiObjects.columns()}
    if np.isnan(table.score).all():
        columns["score"] = None  # of labels; JSON has no NaN
    return {"frame_ids": list(table.frame_ids), "frame_start": table.frame_start.tolist(), **columns}


def _table_from_json(record: Mapping[str, Any]) -> KittiObjects:
    count = len(record["name"])
    widths = {"bbox_px": 4, "size_m": 3, "location_m": 3}
    columns: dict[str, Any] = {"name": np.array(record["name"], dtype=np.str_)}
    for name in KittiObjects.columns()[1:]:
        values = [np.nan] * count if name == "score" and record[name] is None else record[name]
        numbers = np.array(values, dtype=np.float64)
        columns[name] = numbers.reshape(count, widths[name]) if name in widths else numbers
    ids = tuple(str(name) for name in record["frame_ids"])
    return KittiObjects(ids, np.array(record["frame_start"], dtype=np.int64), **columns)
