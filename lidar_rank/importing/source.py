"""What every reader of labelled scans returns, and what all of them check."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from lidar_rank.geometry.boxes import wrap_angle
from lidar_rank.kitti.files import parse_number
from lidar_rank.scans.reading import SUFFIXES

WAY_ON: Final = "unpack the export there, or name its tool with --from"
MAX_TILT_RAD: Final = np.radians(5.0)
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class SourceBox:
    """A labelled box, in the axes of its scan; boxes of detectors stand upright.

    Attributes:
        name: Class, as the source spells it.
        box: x, y, z of the centre, length, width, height in the source's unit of length, yaw in radians.
        where: File, and the place in it, for messages.
        is_tilted: Whether the source turns the box about other axes than z by more than 5 degrees.
    """

    name: str
    box: tuple[float, float, float, float, float, float, float]
    where: str
    is_tilted: bool = False


@dataclass
class SourceScan:
    """A scan that was annotated: objects that it has no box for are not there.

    Attributes:
        path: The file of points.
        boxes: Its boxes.
    """

    path: Path
    boxes: list[SourceBox] = field(default_factory=list)


@dataclass
class Source:
    """All that a reader found.

    Attributes:
        scans: In the order of the recording.
        unlabelled: Scans without annotation.
        splits: Positions in ``scans`` of the frames of ``train`` and ``val``, where the source divides them.
    """

    scans: list[SourceScan]
    unlabelled: list[Path] = field(default_factory=list)
    splits: dict[str, list[int]] | None = None


def make_box(
    name: str,
    centre: Sequence[Any],
    size: Sequence[Any],
    yaw_rad: Any,
    where: str,
    other_angles_rad: Sequence[Any] = (),
) -> SourceBox:
    """Check the values of a box.

    Args:
        name: Class.
        centre: x, y, z.
        size: Length (along the direction in which the object faces), width, height.
        yaw_rad: Counter-clockwise from x, seen from above.
        where: File, and the place in it.
        other_angles_rad: Turns about other axes.

    Raises:
        ValueError: a value is not a finite number, or a size is not positive.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{where}: a box has no class: give it one, or remove it")
    try:
        values = [_number(value) for value in (*centre, *size, yaw_rad)]
        tilts = [wrap_angle(_number(angle)) for angle in other_angles_rad]
    except ValueError as error:
        raise ValueError(f"{where}: a value of a {name} {error}: correct or remove the box") from None
    if min(values[3:6]) <= 0:
        raise ValueError(
            f"{where}: length, width, height of a {name} are {values[3:6]}, expected > 0: correct or remove the box"
        )
    x, y, z, length, width, height, yaw = values
    is_tilted = max(map(abs, tilts), default=0.0) > MAX_TILT_RAD
    return SourceBox(name.strip(), (x, y, z, length, width, height, float(wrap_angle(yaw))), where, is_tilted)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be a finite number, got {value!r}")
    return parse_number(str(value))


def xyz(values: Mapping[str, Any]) -> list[Any]:
    """Values of ``x``, ``y`` and ``z``."""
    return [values[axis] for axis in "xyz"]


def read_json(path: Path, parse: Callable[[Any], Parsed], expected: str) -> Parsed:
    """Read a JSON file.

    Args:
        path: The file.
        parse: Takes its content.
        expected: What the file should hold, in words.

    Raises:
        ValueError: the file is empty, cut off or no JSON, or holds something else; the message names it.
    """
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path}: the file is empty, expected {expected}")
    try:
        table = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path}: cut off, or no JSON ({error}): export it again") from None
    try:
        return parse(table)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else "it holds something else"
        raise ValueError(
            f"{path}: expected {expected}; {reason}: export it again, or name its tool with --from"
        ) from None


def walk(folder: Path) -> Iterator[Path]:
    """Files and folders below a folder, also those in folders that are links, which ``Path.rglob`` leaves out.

    A folder is entered once, however many links lead to it, so that loops end and no scan is taken twice.
    """
    entered = set(folder.resolve().parents)  # a link out of the folder and around it is a loop, too
    for name, folders, files in os.walk(folder, followlinks=True):
        parent = Path(name)
        if parent.resolve() in entered:
            folders.clear()
            continue
        entered.add(parent.resolve())
        # Links last, so that a folder goes by its own name rather than by that of a link beside it.
        folders.sort(key=lambda each: ((parent / each).is_symlink(), each))
        yield from (parent / each for each in (*folders, *files))


def list_clouds(folder: Path) -> dict[str, Path]:
    """Scans of a folder by their names without suffix, in the order of the numbers in them: 2 before 10.

    Raises:
        FileNotFoundError: the folder is missing or holds no scan.
        ValueError: two scans have one name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}, in which the scans should lie: {WAY_ON}")
    found: dict[str, Path] = {}
    clouds = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    for path in sorted(clouds, key=lambda path: (_with_numbers(path.stem), path.name)):
        if path.stem in found:
            raise ValueError(f"{found[path.stem]} and {path} have the same name: leave one of them")
        found[path.stem] = path
    if not found:
        raise FileNotFoundError(f"no scan in {folder}: scans are {', '.join(SUFFIXES)} files")
    return found


def _with_numbers(name: str) -> list[str | int]:
    """Key of a name for sorting: its texts and numbers, in turn."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def match_labels(
    clouds: Mapping[str, Path], labels: Mapping[str, Path], read: Callable[[Path], list[SourceBox]]
) -> Source:
    """Put the label file of each scan beside it.

    Args:
        clouds: Scans by name.
        labels: Label files by the name of their scan.
        read: Reads a label file.

    Returns:
        Scans with label files, and the others as unlabelled.

    Raises:
        FileNotFoundError: a label file has no scan, or there is no label file.
        ValueError: a label file is malformed.
    """
    for name, path in labels.items():
        if name not in clouds:
            folder = next(iter(clouds.values())).parent
            raise FileNotFoundError(
                f"{path} labels a scan that is not there, {name} in {folder}: copy it, or remove {path}"
            )
    scans = [SourceScan(path, read(labels[name])) for name, path in clouds.items() if name in labels]
    if not scans:
        raise FileNotFoundError(
            f"none of {len(clouds)} scans has a label file, the first is {next(iter(clouds.values()))}: {WAY_ON}"
        )
    return Source(scans, [path for name, path in clouds.items() if name not in labels])


def join_sources(sources: Sequence[Source]) -> Source:
    """Put recordings one after the other."""
    return Source(
        [scan for source in sources for scan in source.scans],
        [path for source in sources for path in source.unlabelled],
    )
