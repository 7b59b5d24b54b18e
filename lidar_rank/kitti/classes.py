"""The classes of a root: which there are, and how large and how high up their objects are."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final

import numpy as np
from numpy import ndarray

from lidar_rank.kitti.files import read_lines, write_atomically
from lidar_rank.shapes import Float, Shaped

KITTI_CLASSES: Final = ("Pedestrian", "Cyclist", "Car", "Van", "Truck", "Person_sitting", "Tram", "Misc")
"""The host's order: a class's position is its label."""
DONT_CARE: Final = "DontCare"
LIST_NAME: Final = "classes.txt"
STATISTICS_NAME: Final = "kitti_classes.json"
# A class is one word of a label file, and part of the names of files.
_NAME: Final = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class ClassStatistics:
    """What anchors of a class are made from.

    Attributes:
        objects: Number of labelled objects.
        size_m: Median length, width and height.
        z_bottom_m: Median height of the bottom face in the LiDAR frame.
    """

    objects: int
    size_m: tuple[float, float, float]
    z_bottom_m: float


def check_class_names(names: Sequence[str], where: str) -> None:
    """Check that names can be classes of a root.

    Args:
        names: The classes.
        where: Where they come from, for messages.

    Raises:
        ValueError: there is none, a name is not one word of letters, digits and ``_.+-``, is ``DontCare``, or equals
            another up to upper and lower case, which the evaluation does not tell apart.
    """
    if not names:
        raise ValueError(f"{where}: there is no class")
    seen: dict[str, str] = {}
    for name in names:
        if not _NAME.fullmatch(name) or name.lower() == DONT_CARE.lower():
            raise ValueError(
                f"{where}: {name!r} cannot be a class, which is one word of letters, digits and _.+-, and not"
                f" {DONT_CARE}: give it another name"
            )
        if seen.setdefault(name.lower(), name) != name or names.count(name) > 1:
            raise ValueError(
                f"{where}: the classes {seen[name.lower()]!r} and {name!r} are the same up to upper and lower case:"
                " leave one of them"
            )


def read_classes(root: Path) -> tuple[str, ...]:
    """Read the classes of a root: those of ``classes.txt``, one a line, or without this file KITTI's eight.

    Raises:
        ValueError: a line cannot be a class; the message names the file.
    """
    path = root / LIST_NAME
    if not path.is_file():
        return KITTI_CLASSES
    names = [line.strip() for line in read_lines(path) if line.strip()]
    check_class_names(names, str(path))
    return tuple(names)


def label_of(classes: Sequence[str]) -> dict[str, int]:
    """Label of each class in annotation files; -1 of ``DontCare``."""
    return {**{name: label for label, name in enumerate(classes)}, DONT_CARE: -1}


def measure_classes(
    classes: Sequence[str], names: Shaped[ndarray, " box"], lidar_boxes: Float[ndarray, "box 7"]
) -> dict[str, ClassStatistics]:
    """Statistics of those classes that have objects, in the order of ``classes``.

    Raises:
        ValueError: the objects of a class are smaller than 1 cm, of which no anchors can be made.
    """
    found = {}
    for name in classes:
        boxes = lidar_boxes[names == name]
        if len(boxes):
            median_m = np.median(boxes[:, 2:6], axis=0)
            z_bottom_m, length_m, width_m, height_m = median_m.round(2).tolist()
            if min(length_m, width_m, height_m) <= 0:
                size = " x ".join(f"{side_m:.2g}" for side_m in median_m[1:])
                raise ValueError(
                    f"the median size of {name} is {size} m: is the unit of length another? 'lidar-rank import' takes"
                    " it with --unit"
                )
            found[name] = ClassStatistics(len(boxes), (length_m, width_m, height_m), z_bottom_m)
    return found


def write_statistics(root: Path, statistics: Mapping[str, ClassStatistics]) -> None:
    """Write ``kitti_classes.json``, from which configs for own data take classes and anchors."""
    content = {name: asdict(of_class) for name, of_class in statistics.items()}
    write_atomically(root / STATISTICS_NAME, (json.dumps(content, indent=2) + "\n").encode())


def read_statistics(root: Path | str) -> dict[str, ClassStatistics]:
    """Read ``kitti_classes.json``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged; the message names it.
    """
    path = Path(root) / STATISTICS_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: prepare the root with 'lidar-rank create-data {quote(str(root))}', or name another one with"
            " KITTI_ROOT"
        )
    try:
        found = {str(name): _statistics(**of_class) for name, of_class in json.loads(path.read_bytes()).items()}
        check_class_names(list(found), str(path))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): run 'lidar-rank create-data {quote(str(root))}' again"
        ) from error
    return found


def _statistics(objects: Any, size_m: Any, z_bottom_m: Any) -> ClassStatistics:
    length_m, width_m, height_m = map(float, size_m)
    found = ClassStatistics(int(objects), (length_m, width_m, height_m), float(z_bottom_m))
    if not (np.isfinite([*found.size_m, found.z_bottom_m]).all() and min(found.size_m) > 0 and found.objects > 0):
        raise ValueError(f"sizes and numbers must be above 0, got {found}")
    return found
