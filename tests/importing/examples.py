"""The same labelled scans as each tool would export them, written after the formats' documents."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Labelled:
    """A scan of (x, y, z, intensity) and its boxes: class, centre x, y, z, length, width, height, yaw."""

    points: np.ndarray
    boxes: Sequence[tuple[str, Sequence[float]]]


BOXES = [
    [("car", (10.0, 2.0, -0.95, 4.0, 1.8, 1.5, 0.3)), ("walking person", (6.0, -3.0, -0.8, 0.6, 0.7, 1.8, -2.5))],
    [],
    [("car", (-12.0, 5.5, -0.9, 4.2, 1.7, 1.6, 2.8)), ("tree", (3.0, 9.0, 0.4, 1.0, 1.0, 4.0, 1.2))],
]


def example() -> list[Labelled]:
    """Three scans of points around a few boxes; the second has no object."""
    rng = np.random.default_rng(0)
    return [Labelled(_points(rng, boxes), boxes) for boxes in BOXES]


def _points(rng: np.random.Generator, boxes: Sequence[tuple[str, Sequence[float]]]) -> np.ndarray:
    ground = rng.uniform((-40, -40, -1.75, 0), (40, 40, -1.71, 1), (300, 4))
    inside = []
    for _, (x, y, z, length, width, height, yaw) in boxes:
        local = rng.uniform(-0.45, 0.45, (40, 3)) * (length, width, height)
        turned = local[:, :2] @ np.array([[math.cos(yaw), math.sin(yaw)], [-math.sin(yaw), math.cos(yaw)]])
        inside.append(np.column_stack([turned + np.array([x, y]), local[:, 2] + z, rng.uniform(0, 1, 40)]))
    return np.concatenate([ground, *inside]).astype(np.float32)


def write_kitti_raw(folder: Path, scans: Sequence[Labelled]) -> None:
    """One track for each box; translations are those of bottom faces; numbers of ten digits."""
    drive = folder / "2011_09_26" / "2011_09_26_drive_0001_sync"
    _clouds(drive / "velodyne_points" / "data", [f"{index:010d}.bin" for index in range(len(scans))], scans)
    tracks = [
        _track(name, height, width, length, index, (x, y, z - height / 2, yaw), "2")
        for index, scan in enumerate(scans)
        for name, (x, y, z, length, width, height, yaw) in scan.boxes
    ]
    # KITTI's own files declare this, which XML does not allow.
    _write_tracks(drive / "tracklet_labels.xml", tracks, 'standalone="true"')


def write_cvat(folder: Path, scans: Sequence[Labelled]) -> None:
    """As Datumaro writes it: w, h, l are the sizes along x, y, z, positions are centres, and a list names the scans.

    In the gaps of a track, truncation is the name of a state in Datumaro's code, and elsewhere its number.
    """
    names = [f"street.{index}" for index in range(len(scans))]
    _clouds(folder / "velodyne_points" / "data", [f"{name}.pcd" for name in names], scans)
    tracks = [
        _track(name, width, length, height, index, (x, y, z, yaw), "TruncationStates.OUT_IMAGE")
        for index, scan in enumerate(scans)
        for name, (x, y, z, length, width, height, yaw) in scan.boxes
    ]
    _write_tracks(folder / "tracklet_labels.xml", tracks, 'standalone="yes"')
    lines = [f"{index} {name}\n" for index, name in enumerate(names)]
    (folder / "frame_list.txt").write_text("".join(lines))


def _track(name: str, h: float, w: float, l: float, first: int, pose: Sequence[float], out: str) -> str:  # noqa: E741
    x, y, z, yaw = pose
    outside = (
        f"<item><tx>{x}</tx><ty>{y}</ty><tz>{z}</tz><rx>0</rx><ry>0</ry><rz>{yaw}</rz>"
        f"<truncation>{out}</truncation></item>"
    )
    return f"""
    <item>
      <objectType>{name}</objectType><h>{h!r}</h><w>{w!r}</w><l>{l!r}</l><first_frame>{first}</first_frame>
      <poses><count>2</count><item_version>2</item_version>
        <item><tx>{x!r}</tx><ty>{y!r}</ty><tz>{z!r}</tz><rx>0</rx><ry>0</ry><rz>{yaw!r}</rz>
          <state>2</state><occlusion>0</occlusion><truncation>0</truncation></item>
        {outside}
      </poses><finished>1</finished>
    </item>"""


def _write_tracks(path: Path, tracks: Sequence[str], standalone: str) -> None:
    path.write_text(
        f"""<?xml version="1.0" encoding="UTF-8" {standalone} ?>
<!DOCTYPE boost_serialization>
<boost_serialization signature="serialization::archive" version="9">
  <tracklets class_id="0" tracking_level="0" version="0">
    <count>{len(tracks)}</count><item_version>1</item_version>{"".join(tracks)}
  </tracklets>
</boost_serialization>
"""
    )


def write_cvat_datumaro(folder: Path, scans: Sequence[Labelled]) -> None:
    """Datumaro's JSON: labels by number, scale along x, y, z."""
    names = [f"street_{index}" for index in range(len(scans))]
    _clouds(folder / "point_clouds" / "default", [f"{name}.pcd" for name in names], scans)
    labels = sorted({name for scan in scans for name, _ in scan.boxes})
    items = [
        {
            "id": name,
            "attr": {"frame": index},
            "point_cloud": {"path": f"point_clouds/default/{name}.pcd"},
            "annotations": [
                {
                    "id": 0,
                    "type": "cuboid_3d",
                    "label_id": labels.index(label),
                    "attributes": {"occluded": False},
                    "position": list(box[:3]),
                    "rotation": [0.0, 0.0, box[6]],
                    "scale": list(box[3:6]),
                }
                for label, box in scan.boxes
            ]
            + [{"id": 1, "type": "label", "label_id": 0}],
        }
        for index, (name, scan) in enumerate(zip(names, scans, strict=True))
    ]
    categories = {"label": {"labels": [{"name": label, "parent": "", "attributes": []} for label in labels]}}
    _write_json(folder / "annotations" / "default.json", {"info": {}, "categories": categories, "items": items})


def write_supervisely(folder: Path, scans: Sequence[Labelled]) -> None:
    """A project of point clouds: dimensions are width, length, height, and yaw 0 faces y."""
    _write_supervisely(folder / "dataset1", scans, lambda box: ([box[4], box[3], box[5]], box[6] - math.pi / 2))


def write_cvat_supervisely(folder: Path, scans: Sequence[Labelled]) -> None:
    """The same layout as CVAT writes it: its own sizes along x, y, z and its own yaw."""
    _write_supervisely(folder / "ds0", scans, lambda box: (list(box[3:6]), box[6]))


def write_supervisely_episodes(folder: Path, scans: Sequence[Labelled]) -> None:
    """An episode: one annotation for all frames; frames without an object are not in it."""
    episode = folder / "episode_1"
    names = [f"scene_{index}.pcd" for index in range(len(scans))]
    _clouds(episode / "pointcloud", names, scans)
    _write_json(episode / "frame_pointcloud_map.json", dict(enumerate(names)))
    objects, frames = [], []
    for index, scan in enumerate(scans):
        figures, own = _figures(scan, lambda box: ([box[4], box[3], box[5]], box[6] - math.pi / 2), f"{index}-")
        objects += own
        if figures:
            frames.append({"index": index, "figures": figures})
    _write_json(episode / "annotation.json", {"objects": objects, "framesCount": len(scans), "frames": frames})
    _write_json(folder / "meta.json", {"classes": [], "projectType": "point_cloud_episodes"})


def _write_supervisely(dataset: Path, scans: Sequence[Labelled], convert: Callable) -> None:
    names = [f"scene_{index}.pcd" for index in range(len(scans))]
    _clouds(dataset / "pointcloud", names, scans)
    for name, scan in zip(names, scans, strict=True):
        figures, objects = _figures(scan, convert, "")
        _write_json(dataset / "ann" / f"{name}.json", {"key": name, "tags": [], "objects": objects, "figures": figures})
    _write_json(dataset.parent / "meta.json", {"classes": [], "projectType": "point_clouds"})


def _figures(scan: Labelled, convert: Callable, prefix: str) -> tuple[list[dict], list[dict]]:
    figures, objects = [], []
    for index, (name, box) in enumerate(scan.boxes):
        dimensions, yaw = convert(box)
        geometry = {
            "position": dict(zip("xyz", box[:3], strict=True)),
            "rotation": {"x": 0, "y": 0, "z": yaw},
            "dimensions": dict(zip("xyz", dimensions, strict=True)),
        }
        key = f"{prefix}{index}"
        objects.append({"key": key, "classTitle": name, "tags": []})
        figures.append({"key": f"f{key}", "objectKey": key, "geometryType": "cuboid_3d", "geometry": geometry})
    return figures, objects


def write_sustech(folder: Path, scans: Sequence[Labelled]) -> None:
    """A scene; position, scale, rotation. One label file wraps its list, as newer versions do."""
    scene = folder / "scene_a"
    _clouds(scene / "lidar", [f"{index:06d}.pcd" for index in range(len(scans))], scans)
    for index, scan in enumerate(scans):
        boxes = [
            {
                "obj_type": name,
                "obj_id": str(number),
                "psr": {
                    "position": dict(zip("xyz", box[:3], strict=True)),
                    "scale": dict(zip("xyz", box[3:6], strict=True)),
                    "rotation": {"x": 0, "y": 0, "z": box[6]},
                },
            }
            for number, (name, box) in enumerate(scan.boxes)
        ]
        _write_json(scene / "label" / f"{index:06d}.json", boxes if index else {"objs": boxes})


def write_labelcloud(folder: Path, scans: Sequence[Labelled]) -> None:
    """centroid_rel: radians from -pi to pi."""
    _write_labelcloud(folder, scans, lambda box: _centroid(box, box[6]))


def write_labelcloud_abs(folder: Path, scans: Sequence[Labelled]) -> None:
    """centroid_abs: degrees from 0 to 360."""
    _write_labelcloud(folder, scans, lambda box: _centroid(box, math.degrees(box[6]) % 360))


def write_labelcloud_vertices(folder: Path, scans: Sequence[Labelled]) -> None:
    """Eight corners, the bottom ones first."""
    _write_labelcloud(folder, scans, lambda box: {"vertices": _vertices(box)})


def _centroid(box: Sequence[float], angle: float) -> dict:
    return {
        "centroid": dict(zip("xyz", box[:3], strict=True)),
        "dimensions": dict(zip(("length", "width", "height"), box[3:6], strict=True)),
        "rotations": {"x": 0.0, "y": 0.0, "z": angle},
    }


def _vertices(box: Sequence[float]) -> list[list[float]]:
    x, y, z, length, width, height, yaw = box
    signs = [(-1, -1, -1), (-1, 1, -1), (1, 1, -1), (1, -1, -1), (-1, -1, 1), (-1, 1, 1), (1, 1, 1), (1, -1, 1)]
    cos, sin = math.cos(yaw), math.sin(yaw)
    corners = []
    for along, across, up in signs:
        dx, dy = along * length / 2, across * width / 2
        corners.append([x + dx * cos - dy * sin, y + dx * sin + dy * cos, z + up * height / 2])
    return corners


def _write_labelcloud(folder: Path, scans: Sequence[Labelled], convert: Callable) -> None:
    names = [f"cloud {index}" for index in range(len(scans))]
    _clouds(folder / "pointclouds", [f"{name}.pcd" for name in names], scans)
    for name, scan in zip(names, scans, strict=True):
        objects = [{"name": label, **convert(box)} for label, box in scan.boxes]
        content = {"folder": "pointclouds", "filename": f"{name}.pcd", "path": f"{name}.pcd", "objects": objects}
        _write_json(folder / "labels" / f"{name}.json", content)


def write_openpcdet(folder: Path, scans: Sequence[Labelled]) -> None:
    """Text labels of one word a class, and lists of frames; the points have a further column."""
    (folder / "points").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "ImageSets").mkdir()
    names = [f"{index:06d}" for index in range(len(scans))]
    for name, scan in zip(names, scans, strict=True):
        ring = np.arange(len(scan.points), dtype=np.float32)[:, None]
        np.save(folder / "points" / f"{name}.npy", np.concatenate([scan.points, ring], axis=1))
        lines = [f"{' '.join(map(repr, box))} {label.replace(' ', '_')}\n" for label, box in scan.boxes]
        (folder / "labels" / f"{name}.txt").write_text("".join(lines))
    (folder / "ImageSets" / "train.txt").write_text("\n".join(names[:-1]) + "\n")
    (folder / "ImageSets" / "val.txt").write_text(names[-1] + "\n")


def _clouds(folder: Path, names: Sequence[str], scans: Sequence[Labelled]) -> None:
    folder.mkdir(parents=True)
    for name, scan in zip(names, scans, strict=True):
        content = scan.points.astype(np.float32).tobytes()
        header = (
            "VERSION .7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
            f"WIDTH {len(scan.points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(scan.points)}\nDATA binary\n"
        )
        (folder / name).write_bytes(content if name.endswith(".bin") else header.encode() + content)


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


# What --from takes, and who writes it.
WRITERS: dict[str, tuple[str, Callable[[Path, Sequence[Labelled]], None]]] = {
    "kitti-raw": ("kitti-raw", write_kitti_raw),
    "cvat": ("cvat", write_cvat),
    "cvat-datumaro": ("cvat", write_cvat_datumaro),
    "cvat-supervisely": ("cvat", write_cvat_supervisely),
    "supervisely": ("supervisely", write_supervisely),
    "supervisely-episodes": ("supervisely", write_supervisely_episodes),
    "sustech": ("sustech", write_sustech),
    "labelcloud-rel": ("labelcloud", write_labelcloud),
    "labelcloud-abs": ("labelcloud", write_labelcloud_abs),
    "labelcloud-vertices": ("labelcloud", write_labelcloud_vertices),
    "openpcdet": ("openpcdet", write_openpcdet),
}
