"""KITTI's raw recordings, whose boxes are tracks in one XML file, and CVAT's export in that format.

Sources: Geiger et al., "Vision meets robotics: the KITTI dataset", IJRR 2013, with its raw data development kit; the
documentation of Datumaro, the library with which CVAT writes the format.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from lidar_rank.importing.source import (
    WAY_ON,
    Source,
    SourceBox,
    SourceScan,
    join_sources,
    list_clouds,
    make_box,
    walk,
)
from lidar_rank.kitti.files import parse_number, read_lines

LABELS_NAME: Final = "tracklet_labels.xml"
CLOUD_FOLDER: Final = Path("velodyne_points", "data")
FRAME_LIST_NAME: Final = "frame_list.txt"
# What KITTI calls the truncation of a pose. Datumaro writes some by the names in its code: TruncationStates.OUT_IMAGE.
TRUNCATIONS: Final = {"TRUNCATION_UNSET": -1, "IN_IMAGE": 0, "TRUNCATED": 1, "OUT_IMAGE": 2, "BEHIND_IMAGE": 99}
# Poses outside the image: KITTI extrapolates them, and CVAT fills the gaps of a track with copies.
OUTSIDE_IMAGE: Final = {TRUNCATIONS["OUT_IMAGE"], TRUNCATIONS["BEHIND_IMAGE"]}


def read_kitti_raw(folder: Path) -> Source:
    """Read every drive below a folder: h, w and l as named, translation of the bottom face.

    Raises:
        FileNotFoundError: there is no drive, or a frame has labels but no scan.
        ValueError: a file is malformed; the message names it.
    """
    return _read_drives(folder, from_cvat=False)


def read_cvat_tracklets(folder: Path) -> Source:
    """Read CVAT's export "KITTI Raw", in which w, h and l are the sizes along x, y and z, and positions are centres.

    Raises:
        FileNotFoundError: there is no ``tracklet_labels.xml``, or a frame has labels but no scan.
        ValueError: a file is malformed; the message names it.
    """
    return _read_drives(folder, from_cvat=True)


def _read_drives(folder: Path, *, from_cvat: bool) -> Source:
    files = sorted(path for path in walk(folder) if path.name == LABELS_NAME)
    if not files:
        raise FileNotFoundError(f"no {LABELS_NAME} in {folder} or below it: {WAY_ON}")
    return join_sources([_read_drive(path, from_cvat=from_cvat) for path in files])


def _read_drive(path: Path, *, from_cvat: bool) -> Source:
    scans = {number: SourceScan(cloud) for number, cloud in sorted(_clouds_by_number(path.parent).items())}
    for frame, box in _boxes(path, from_cvat=from_cvat):
        if frame not in scans:
            raise FileNotFoundError(
                f"{box.where} is in frame {frame}, which has no scan in {path.parent / CLOUD_FOLDER}: copy the scan"
                " (CVAT exports scans if 'save images' is chosen), or remove the label"
            )
        scans[frame].boxes.append(box)
    return Source(list(scans.values()))


def _clouds_by_number(drive: Path) -> dict[int, Path]:
    """Scans by the numbers of their frames: those of ``frame_list.txt``, or without it those of their names."""
    clouds = list_clouds(drive / CLOUD_FOLDER)
    frame_list = drive / FRAME_LIST_NAME
    if not frame_list.is_file():
        return {_frame_number(name, str(path)): path for name, path in clouds.items()}
    found = {}
    for line_number, line in enumerate(read_lines(frame_list), start=1):
        number, _, name = line.strip().partition(" ")
        if number:
            # Names of frames may hold dots, and CVAT leaves the suffix out.
            cloud = clouds.get(name.strip()) or clouds.get(Path(name.strip()).stem)
            if cloud is None:
                raise FileNotFoundError(f"{frame_list}:{line_number} names a scan that is not there, {name}: copy it")
            found[_frame_number(number, f"{frame_list}:{line_number}")] = cloud
    return found


def _frame_number(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError(f"{where}: expected the number of a frame, got {text[:60]!r}: name scans as KITTI does")
    return int(text)


def _boxes(path: Path, *, from_cvat: bool) -> list[tuple[int, SourceBox]]:
    found = []
    for number, track in enumerate(_parse(path).findall("tracklets/item")):
        where = f"{path}: track {number}"
        fields = _texts(track, where, "objectType", "h", "w", "l", "first_frame")
        first = _frame_number(fields["first_frame"], where)
        for offset, pose in enumerate(track.findall("poses/item")):
            values = _texts(pose, where, "tx", "ty", "tz", "rx", "ry", "rz", "truncation")
            if _truncation(values["truncation"], where) not in OUTSIDE_IMAGE:
                found.append((first + offset, _box(fields, values, where, from_cvat=from_cvat)))
    return found


def _truncation(text: str, where: str) -> int:
    name = text.rpartition(".")[2]
    return TRUNCATIONS[name] if name in TRUNCATIONS else int(_parse_number(text, where))


def _box(track: Mapping[str, str], pose: Mapping[str, str], where: str, *, from_cvat: bool) -> SourceBox:
    name, height, width, length = (track[key] for key in ("objectType", "h", "w", "l"))
    x, y, z = (pose[key] for key in ("tx", "ty", "tz"))
    if from_cvat:
        length, width, height = width, height, length
    else:
        z = str(_parse_number(z, where) + _parse_number(height, where) / 2)
    return make_box(name, (x, y, z), (length, width, height), pose["rz"], where, (pose["rx"], pose["ry"]))


def _parse_number(text: str, where: str) -> float:
    try:
        return parse_number(text)
    except ValueError as error:
        raise ValueError(f"{where}: a value {error}: correct or remove the box") from None


def _parse(path: Path) -> ElementTree.Element:
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path}: the file is empty, expected tracks in KITTI's format")
    # KITTI's files declare standalone="true", which is no XML.
    declaration = content.find(b"?>") + 2 if content.lstrip().startswith(b"<?xml") else 0
    try:
        root = ElementTree.fromstring(content[declaration:])
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: cut off, or no XML ({error}): export it again") from None
    if root.find("tracklets") is None:
        raise ValueError(f"{path}: expected <tracklets> in <{root.tag}>, as in KITTI's raw recordings")
    return root


def _texts(element: ElementTree.Element, where: str, *names: str) -> dict[str, str]:
    found = {name: (element.findtext(name) or "").strip() for name in names}
    missing = [name for name, text in found.items() if not text]
    if missing:
        raise ValueError(f"{where} has no <{missing[0]}>: export it again")
    return found
