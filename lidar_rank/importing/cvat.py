"""Exports of a 3D task of CVAT: KITTI Raw, Supervisely Point Cloud, or Datumaro's own format.

Source: the documentation of CVAT's export formats and of Datumaro. Positions are centres, scales are length, width and
height along x, y and z of the box, and rotations are in radians about these axes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lidar_rank.importing import supervisely, tracklets
from lidar_rank.importing.source import Source, SourceBox, SourceScan, join_sources, make_box, read_json, walk
from lidar_rank.scans.reading import SUFFIXES

DATUMARO_FOLDER: Final = "annotations"
EXPECTED: Final = "a data set in Datumaro's format (categories, items with annotations)"


def read_cvat(folder: Path) -> Source:
    """Read an unpacked export, in whichever of the three formats it is.

    Raises:
        FileNotFoundError: there is no export, or a frame has labels but no scan.
        ValueError: a file is malformed; the message names it.
    """
    paths = list(walk(folder))
    names = {path.name for path in paths}
    if tracklets.LABELS_NAME in names:
        return tracklets.read_cvat_tracklets(folder)
    if supervisely.CLOUD_FOLDER in names:
        return supervisely.read_cvat_supervisely(folder)
    files = sorted(folder.glob(f"{DATUMARO_FOLDER}/*.json"))
    if not files:
        raise FileNotFoundError(
            f"{folder} holds none of {tracklets.LABELS_NAME} (KITTI Raw), {supervisely.CLOUD_FOLDER}/ (Supervisely"
            f" Point Cloud) and {DATUMARO_FOLDER}/*.json (Datumaro): unpack CVAT's export there"
        )
    clouds: dict[str, list[Path]] = {}
    for path in paths:
        if path.suffix.lower() in SUFFIXES:
            clouds.setdefault(path.name, []).append(path)
    return join_sources([_read_datumaro(path, clouds) for path in files])


def _read_datumaro(path: Path, clouds: Mapping[str, list[Path]]) -> Source:
    def parse(table: Any) -> list[SourceScan]:
        classes = [each["name"] for each in table["categories"]["label"]["labels"]]
        return [_scan(item, classes, path, clouds) for item in table["items"]]

    return Source(read_json(path, parse, EXPECTED))


def _scan(item: Mapping[str, Any], classes: list[str], path: Path, clouds: Mapping[str, list[Path]]) -> SourceScan:
    where = f"{path}: item {item['id']}"
    name = Path((item.get("point_cloud") or {}).get("path") or f"{item['id']}.pcd").name
    found = clouds.get(name, [])
    if len(found) != 1:
        raise FileNotFoundError(
            f"{where} needs one scan {name} in the export, found {len(found)}: copy it (CVAT exports scans if 'save"
            " images' is chosen), or remove the item"
        )
    boxes = [
        _box(each, classes, f"{where}: annotation {index}")
        for index, each in enumerate(item["annotations"])
        if each["type"] == "cuboid_3d" and not each.get("attributes", {}).get("outside", False)
    ]
    return SourceScan(found[0], boxes)


def _box(annotation: Mapping[str, Any], classes: list[str], where: str) -> SourceBox:
    label = annotation["label_id"]
    if not isinstance(label, int) or not 0 <= label < len(classes):
        raise ValueError(f"{where}: label_id {label} is none of the {len(classes)} labels of the file")
    roll, pitch, yaw = annotation["rotation"]
    return make_box(classes[label], annotation["position"], annotation["scale"], yaw, where, (roll, pitch))
