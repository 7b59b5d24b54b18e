"""What the page and the live views show of one scan or image."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.kitti import Calibration, read_calibration
from lidar_rank.kitti.files import read_points
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.kitti.root import Frame
from lidar_rank.page.run import Results
from lidar_rank.page.verdicts import NOTHING, judge
from lidar_rank.predictions import Detections
from lidar_rank.shapes import Bool, Float, Int, Int8, Shaped

# Widths in pixels: a picture beside a scan is small, so that 200 scans stay below 60 MB.
WIDTH_BESIDE_SCAN: Final = 720
WIDTH_ALONE: Final = 1000
JPEG_QUALITY: Final = 72
# Of boxes; the first three by their verdict, in the order of its numbers, which the viewer's shader counts on.
COLOURS: Final = {
    "found": "#4ade80",
    "false": "#f87171",
    "uncounted": "#94a3b8",
    "predicted": "#fbbf24",
    "object": "#60a5fa",
    "missed": "#f0abfc",
    "ignored": "#64748b",
}


@dataclass(frozen=True, eq=False)
class Objects:
    """Labelled objects of a scene.

    Attributes:
        names: Class of each.
        boxes: (x, y, z_bottom, length, width, height, yaw) in the frame of the points, or (left, top, right, bottom) in
            pixels of the image file.
        is_counted: Whether each is found or missed; the evaluation ignores the others.
    """

    names: Shaped[ndarray, " object"]
    boxes: Float[ndarray, "object column"]
    is_counted: Bool[ndarray, " object"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Boxes of one detector in a scene, best first; the last three are None where there are no labels.

    Attributes:
        names: Class of each.
        scores: 0 to 1.
        boxes: As those of :class:`Objects`.
        verdicts: FOUND, FALSE or NOT_COUNTED.
        overlaps: Largest IoU with an object of the class.
        object_of: Index of the object that a box is matched with, or -1.
    """

    names: Shaped[ndarray, " box"]
    scores: Float[ndarray, " box"]
    boxes: Float[ndarray, "box column"]
    verdicts: Int8[ndarray, " box"] | None = None
    overlaps: Float[ndarray, " box"] | None = None
    object_of: Int[ndarray, " box"] | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """An image for the page.

    Attributes:
        jpeg: The file, possibly smaller than the original.
        size: Width and height of the original in pixels, which boxes and projections refer to.
    """

    jpeg: bytes
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Scene:
    """A scan or an image with its boxes.

    Attributes:
        name: Of the scan.
        predictions: Of each detector; None where it has none for this scan.
        points: x, y, z in metres and intensity; None for images, or where the scan is missing.
        objects: None where there are no labels.
        picture: Of the camera.
        projection: Points of the scan to pixels of the picture's original; None without a camera.
        note: What is missing.
    """

    name: str
    predictions: Sequence[Predictions | None]
    points: Float[ndarray, "point 4"] | None = None
    objects: Objects | None = None
    picture: Picture | None = None
    projection: Float[ndarray, "3 4"] | None = None
    note: str = ""


def scene_of_detections(name: str, points: Float[ndarray, "point 4"], found: Detections) -> Scene:
    """A scan without labels."""
    return Scene(name, [Predictions(found.names, found.scores, found.lidar_boxes)], points)


class SceneReader:
    """Reads the scenes of the results of one or several detectors on the same data.

    Args:
        results: Of each detector; None where it has none.
    """

    def __init__(self, results: Sequence[Results | None]) -> None:
        self._results = results
        self._verdicts = [None if own is None else judge(own) for own in results]
        self._index: list[dict[str, int]] = [
            {} if own is None else {name: index for index, name in enumerate(own.objects.frame_ids)} for own in results
        ]

    def read(self, name: str) -> Scene:
        """Read a scene; at least one detector has results for it. What cannot be read is said in its note."""
        files = [
            own.files[index[name]]
            for own, index in zip(self._results, self._index, strict=True)
            if own is not None and name in index
        ]
        file = next((path for path in files if path.is_file()), files[0])
        is_3d = any(own.is_3d for own in self._results if own is not None)
        return self._scan(name, file) if is_3d else self._image(name, file)

    def _scan(self, name: str, file: Path) -> Scene:
        frame = Frame.of_scan(file)
        try:
            calibration = read_calibration(frame.calibration_path)
        except (OSError, ValueError) as error:
            return Scene(name, [None] * len(self._results), note=f"no calibration, so no boxes: {error}")
        points, picture, note = None, None, ""
        try:
            points = read_points(file)
        except (OSError, ValueError) as error:
            note = f"no scan: {error}"
        if frame.image_path.is_file():
            picture, complaint = _read_picture(frame.image_path, WIDTH_BESIDE_SCAN)
            note = "; ".join(filter(None, (note, complaint)))
        return self.scene(name, points, calibration, picture=picture, note=note)

    def scene(
        self,
        name: str,
        points: Float[ndarray, "point 4"] | None,
        calibration: Calibration,
        *,
        picture: Picture | None = None,
        note: str = "",
    ) -> Scene:
        """The scene of a scan that has been read."""
        predictions, objects = self._boxes(name, calibration)
        projection = calibration.projection @ calibration.lidar_to_camera_matrix if calibration.has_camera else None
        return Scene(name, predictions, points, objects, picture, projection, note)

    def _image(self, name: str, file: Path) -> Scene:
        picture, note = _read_picture(file, WIDTH_ALONE)
        predictions, objects = self._boxes(name, None)
        return Scene(name, predictions, None, objects, picture, None, note)

    def _boxes(self, name: str, calibration: Calibration | None) -> tuple[list[Predictions | None], Objects | None]:
        """Predictions of each detector, and the objects as the first that knows the scene has them."""
        predictions: list[Predictions | None] = []
        objects = None
        for results, verdicts, index in zip(self._results, self._verdicts, self._index, strict=True):
            if results is None or verdicts is None or name not in index:
                predictions.append(None)
                continue
            truth, found = (_rows(table, index[name]) for table in (results.objects, results.detections))
            shown = truth[verdicts.is_shown[truth]]
            if objects is None:
                boxes = _boxes_of(results.objects, shown, calibration)
                objects = Objects(results.objects.name[shown], boxes, verdicts.is_counted[shown])
            place_of = {int(row): place for place, row in enumerate(shown)}
            best_first = found[np.argsort(-results.detections.score[found], kind="stable")]
            predictions.append(
                Predictions(
                    results.detections.name[best_first],
                    results.detections.score[best_first],
                    _boxes_of(results.detections, best_first, calibration),
                    verdicts.verdict[best_first],
                    verdicts.overlap[best_first],
                    np.array([place_of.get(int(row), NOTHING) for row in verdicts.object_of[best_first]], dtype=int),
                )
            )
        return predictions, objects


def _rows(table: KittiObjects, frame: int) -> Int[ndarray, " object"]:
    return np.arange(table.frame_start[frame], table.frame_start[frame + 1])


def _boxes_of(
    table: KittiObjects, rows: Int[ndarray, " object"], calibration: Calibration | None
) -> Float[ndarray, "object column"]:
    if calibration is None:
        return table.bbox_px[rows]
    return calibration.camera_boxes_to_lidar(table.location_m[rows], table.size_m[rows], table.yaw_rad[rows])


def _read_picture(file: Path, width: int) -> tuple[Picture | None, str]:
    """A smaller copy of an image, or what is wrong with the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            size = opened.size
            small = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        return None, f"no image: {error}"
    if size[0] > width:
        small = small.resize((width, max(1, round(size[1] * width / size[0]))))
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=JPEG_QUALITY)
    return Picture(content.getvalue(), size), ""
