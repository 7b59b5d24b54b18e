"""Scenes of SUSTechPOINTS: ``lidar/NAME.pcd`` and ``label/NAME.json``.

Source: the repository naurril/SUSTechPOINTS. ``psr`` holds the position of the centre, the scale (length, width, height
along x, y and z of the box) and the rotation in radians about these axes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lidar_rank.importing.source import (
    WAY_ON,
    Source,
    SourceBox,
    join_sources,
    list_clouds,
    make_box,
    match_labels,
    read_json,
    walk,
    xyz,
)

CLOUD_FOLDER: Final = "lidar"
LABEL_FOLDER: Final = "label"
EXPECTED: Final = "a list of boxes of SUSTechPOINTS, each with obj_type and psr"


def read_sustech(folder: Path) -> Source:
    """Read a scene, or a folder of scenes.

    Raises:
        FileNotFoundError: there is no scene, or a label file has no scan.
        ValueError: a file is malformed; the message names it.
    """
    labels = (path for path in walk(folder) if path.name == LABEL_FOLDER)
    scenes = sorted(path.parent for path in labels if (path.parent / CLOUD_FOLDER).is_dir())
    if not scenes:
        raise FileNotFoundError(f"no scene with {CLOUD_FOLDER}/ and {LABEL_FOLDER}/ in {folder} or below it: {WAY_ON}")
    return join_sources([_read_scene(scene) for scene in scenes])


def _read_scene(scene: Path) -> Source:
    labels = {path.stem: path for path in sorted((scene / LABEL_FOLDER).glob("*.json"))}
    return match_labels(list_clouds(scene / CLOUD_FOLDER), labels, _read_boxes)


def _read_boxes(path: Path) -> list[SourceBox]:
    def parse(table: Any) -> list[SourceBox]:
        objects = table["objs"] if isinstance(table, dict) else table
        return [_box(each, f"{path}: box {index}") for index, each in enumerate(objects)]

    return read_json(path, parse, EXPECTED)


def _box(each: Mapping[str, Any], where: str) -> SourceBox:
    roll, pitch, yaw = xyz(each["psr"]["rotation"])
    return make_box(
        each["obj_type"], xyz(each["psr"]["position"]), xyz(each["psr"]["scale"]), yaw, where, (roll, pitch)
    )
