"""Supervisely's point cloud projects and episodes, whose format CVAT exports too.

Source: Supervisely's documentation of its annotation format for point clouds and point cloud episodes: ``dimensions``
are width, length and height along x, y and z, and a box with yaw 0 faces y. CVAT writes its own boxes in these files,
which face x.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lidar_rank.importing.source import (
    WAY_ON,
    Source,
    SourceBox,
    SourceScan,
    join_sources,
    list_clouds,
    make_box,
    match_labels,
    read_json,
    walk,
    xyz,
)

CLOUD_FOLDER: Final = "pointcloud"
LABEL_FOLDER: Final = "ann"
EPISODE_NAME: Final = "annotation.json"
FRAME_MAP_NAME: Final = "frame_pointcloud_map.json"
EXPECTED: Final = "annotations of Supervisely's point clouds (objects, figures with cuboid_3d geometry)"


def read_supervisely(folder: Path) -> Source:
    """Read a project, or one of its data sets.

    Raises:
        FileNotFoundError: there are no scans, or a label file has no scan.
        ValueError: a file is malformed; the message names it.
    """
    return _read_project(folder, from_cvat=False)


def read_cvat_supervisely(folder: Path) -> Source:
    """Read CVAT's export "Supervisely Point Cloud"; errors as of :func:`read_supervisely`."""
    return _read_project(folder, from_cvat=True)


def _read_project(folder: Path, *, from_cvat: bool) -> Source:
    datasets = sorted(path.parent for path in walk(folder) if path.name == CLOUD_FOLDER and path.is_dir())
    if not datasets:
        raise FileNotFoundError(
            f"no folder {CLOUD_FOLDER}/ in {folder} or below it, as Supervisely's projects have it: {WAY_ON}"
        )
    return join_sources([_read_dataset(dataset, from_cvat=from_cvat) for dataset in datasets])


def _read_dataset(dataset: Path, *, from_cvat: bool) -> Source:
    clouds = list_clouds(dataset / CLOUD_FOLDER)
    if (dataset / EPISODE_NAME).is_file():
        return _read_episode(dataset, {path.name: path for path in clouds.values()})
    files = sorted((dataset / LABEL_FOLDER).glob("*.json"))
    labels = {Path(path.stem).stem: path for path in files}  # NAME.pcd.json

    def read(path: Path) -> list[SourceBox]:
        return read_json(
            path, lambda table: _figures(table["figures"], _classes(table), str(path), from_cvat), EXPECTED
        )

    return match_labels(clouds, labels, read)


def _read_episode(dataset: Path, clouds: Mapping[str, Path]) -> Source:
    """Read a sequence whose annotation is one file: frames that it does not name hold no object."""
    path, map_path = dataset / EPISODE_NAME, dataset / FRAME_MAP_NAME
    names = list(clouds)
    if map_path.is_file():
        by_number = read_json(map_path, _frame_map, "names of scans by the number of their frame")
        missing = [name for name in by_number.values() if name not in clouds]
        if missing:
            raise FileNotFoundError(f"{map_path} names a scan that is not there, {missing[0]}: copy it")
        names = [by_number[number] for number in sorted(by_number)]
        numbers = {number: position for position, number in enumerate(sorted(by_number))}
    else:
        numbers = {number: number for number in range(len(names))}
    scans = [SourceScan(clouds[name]) for name in names]

    def put(table: Any) -> None:
        table = table[0] if isinstance(table, list) else table
        classes = _classes(table)
        for frame in table["frames"]:
            number = int(frame["index"])
            boxes = _figures(frame["figures"], classes, f"{path}: frame {number}", from_cvat=False)
            if boxes and number not in numbers:
                raise FileNotFoundError(
                    f"{path} labels frame {number}, which has no scan in {dataset / CLOUD_FOLDER}: copy the scan"
                )
            if boxes:
                scans[numbers[number]].boxes += boxes

    read_json(path, put, EXPECTED)
    return Source(scans)


def _frame_map(table: Mapping[str, Any]) -> dict[int, str]:
    return {int(number): str(name) for number, name in table.items()}


def _classes(table: Mapping[str, Any]) -> dict[str, str]:
    """Classes by the keys of their objects."""
    return {each["key"]: each["classTitle"] for each in table["objects"]}


def _figures(
    figures: Sequence[Mapping[str, Any]], classes: Mapping[str, str], where: str, from_cvat: bool
) -> list[SourceBox]:
    box_of: Callable[..., SourceBox] = _cvat_box if from_cvat else _box
    return [
        box_of(classes[each["objectKey"]], each["geometry"], f"{where}: figure {index}")
        for index, each in enumerate(figures)
        if each.get("geometryType", "cuboid_3d") == "cuboid_3d"
    ]


def _box(name: str, geometry: Mapping[str, Any], where: str) -> SourceBox:
    width, length, height = xyz(geometry["dimensions"])
    pitch, roll, yaw = xyz(geometry["rotation"])
    yaw = yaw + math.pi / 2 if isinstance(yaw, int | float) else yaw
    return make_box(name, xyz(geometry["position"]), (length, width, height), yaw, where, (pitch, roll))


def _cvat_box(name: str, geometry: Mapping[str, Any], where: str) -> SourceBox:
    roll, pitch, yaw = xyz(geometry["rotation"])
    return make_box(name, xyz(geometry["position"]), xyz(geometry["dimensions"]), yaw, where, (roll, pitch))
