"""labelCloud: ``pointclouds/NAME.pcd`` and ``labels/NAME.json``, as centroids or as vertices.

Source: the documentation of labelCloud (ch-sa/labelCloud). A centroid is the centre of a box with length, width and
height and with rotations in degrees (``centroid_abs``) or radians (``centroid_rel``). Vertices begin at x, y, z low,
go around the bottom over y high, and then around the top.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from lidar_rank.importing.source import (
    Source,
    SourceBox,
    list_clouds,
    make_box,
    match_labels,
    read_json,
    xyz,
)

CLOUD_FOLDER: Final = "pointclouds"
LABEL_FOLDER: Final = "labels"
CLASSES_NAME: Final = "_classes.json"
RADIANS_OF_FORMAT: Final = {"centroid_rel": 1.0, "centroid_abs": math.pi / 180}
EXPECTED: Final = "labels of labelCloud (objects with centroid, dimensions and rotations, or with vertices)"


def read_labelcloud(folder: Path) -> Source:
    """Read the folder of a labelCloud project.

    Raises:
        FileNotFoundError: there are no scans, or a label file has no scan.
        ValueError: a file is malformed, or nothing says whether angles are in degrees or radians; the message names it.
    """
    clouds = list_clouds(folder / CLOUD_FOLDER)
    files = [path for path in sorted((folder / LABEL_FOLDER).glob("*.json")) if path.name != CLASSES_NAME]
    unit_rad = _angle_unit_rad(folder / LABEL_FOLDER, files)
    return match_labels(clouds, {path.stem: path for path in files}, lambda path: _read_boxes(path, unit_rad))


def _read_boxes(path: Path, unit_rad: float) -> list[SourceBox]:
    def parse(table: Any) -> list[SourceBox]:
        return [_box(each, f"{path}: object {index}", unit_rad) for index, each in enumerate(table["objects"])]

    return read_json(path, parse, EXPECTED)


def _box(each: Mapping[str, Any], where: str, unit_rad: float) -> SourceBox:
    if "vertices" in each:
        return _box_of_vertices(each["name"], each["vertices"], where)
    size = [each["dimensions"][name] for name in ("length", "width", "height")]
    angles = xyz(each["rotations"])
    if not all(isinstance(angle, int | float) for angle in angles):
        raise ValueError(f"{where}: the rotations are {angles}, expected numbers: correct or remove the box")
    roll, pitch, yaw = (angle * unit_rad for angle in angles)
    return make_box(each["name"], xyz(each["centroid"]), size, yaw, where, (roll, pitch))


def _box_of_vertices(name: str, vertices: Sequence[Sequence[float]], where: str) -> SourceBox:
    try:
        corners = np.array(vertices, dtype=np.float64)
    except (TypeError, ValueError):
        corners = np.zeros(0)
    if corners.shape != (8, 3):
        raise ValueError(f"{where}: expected 8 vertices of x, y, z: correct or remove the box")
    along, across, up = corners[3] - corners[0], corners[1] - corners[0], corners[4] - corners[0]
    size = [float(np.linalg.norm(edge)) for edge in (along, across, up)]
    tilt_rad = math.atan2(float(np.hypot(up[0], up[1])), float(up[2]))
    yaw_rad = math.atan2(float(along[1]), float(along[0]))
    return make_box(name, corners.mean(axis=0).tolist(), size, yaw_rad, where, (tilt_rad,))


def _angle_unit_rad(folder: Path, files: Sequence[Path]) -> float:
    """Radians of the unit of angles: as ``_classes.json`` says, or as the angles of all files show."""
    classes = folder / CLASSES_NAME
    named = read_json(classes, lambda table: table.get("format"), "labelCloud's classes") if classes.is_file() else None
    if named in RADIANS_OF_FORMAT:
        return RADIANS_OF_FORMAT[named]
    found = [angle for path in files for angle in read_json(path, _angles, EXPECTED)]
    if not found or min(found) < 0 or max(found) == 0:
        return 1.0  # centroid_abs writes angles from 0 to 360
    if max(found) > math.pi:
        return math.pi / 180
    raise ValueError(
        f"{folder}: nothing says whether the rotations are degrees or radians, as all are from 0 to {max(found):.2f}:"
        f' write {{"format": "centroid_abs"}} (degrees) or {{"format": "centroid_rel"}} (radians) to {classes}'
    )


def _angles(table: Mapping[str, Any]) -> list[float]:
    return [
        float(angle)
        for each in table["objects"]
        for angle in (xyz(each["rotations"]) if "rotations" in each else ())
        if isinstance(angle, int | float)
    ]
