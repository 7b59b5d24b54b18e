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
    """Labelled objects of a scene: those on which at least one detector is evaluated.

    Attributes:
        names: Class of each.
        boxes: (x, y, z_bottom, length, width, height, yaw) in the frame of the points, or (left, top, right, bottom) in
            pixels of the image file.
        is_counted: Whether each is found or missed in the evaluation of each detector, which ignores the others.
    """

    names: Shaped[ndarray, " object"]
    boxes: Float[ndarray, "object column"]
    is_counted: Bool[ndarray, "detector object"]


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
        self._detectors = [None if own is None else _Judged(own) for own in results]

    def read(self, name: str) -> Scene:
        """Read a scene; at least one detector has results for it. What cannot be read is said in its note."""
        known = [own for own in self._that_know(name) if own is not None]
        files = [own.results.files[own.frame_of[name]] for own in known]
        file = next((path for path in files if path.is_file()), files[0])
        return self._scan(name, file) if known[0].results.is_3d else self._image(name, file)

    def _scan(self, name: str, file: Path) -> Scene:
        frame = Frame.of_scan(file)
        try:
            calibration = read_calibration(frame.calibration_path)
        except (OSError, ValueError) as error:
            return Scene(name, [None] * len(self._detectors), note=f"no calibration, so no boxes: {error}")
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

    def _that_know(self, name: str) -> list["_Judged | None"]:
        return [own if own is not None and name in own.frame_of else None for own in self._detectors]

    def _boxes(self, name: str, calibration: Calibration | None) -> tuple[list[Predictions | None], Objects]:
        """Predictions of each detector, and the objects on which at least one is evaluated.

        All have the same objects in the same order; which of them count depends on the classes and range of each.
        """
        detectors = self._that_know(name)
        known = [own for own in detectors if own is not None]
        is_shown = np.any([own.verdicts.is_shown[own.objects_in(name)] for own in known], axis=0)
        nothing = np.zeros(len(is_shown), dtype=bool)
        is_counted = [nothing if own is None else own.verdicts.is_counted[own.objects_in(name)] for own in detectors]
        table, shown = known[0].results.objects, known[0].objects_in(name)[is_shown]
        objects = Objects(table.name[shown], _boxes_of(table, shown, calibration), np.array(is_counted)[:, is_shown])
        return [None if own is None else own.predictions(name, is_shown, calibration) for own in detectors], objects


class _Judged:
    """Results of a detector and the verdicts on them."""

    def __init__(self, results: Results) -> None:
        self.results, self.verdicts = results, judge(results)
        self.frame_of = {name: frame for frame, name in enumerate(results.objects.frame_ids)}

    def objects_in(self, name: str) -> Int[ndarray, " object"]:
        """Rows of the objects of a scene."""
        return _rows(self.results.objects, self.frame_of[name])

    def predictions(
        self, name: str, is_shown: Bool[ndarray, " object"], calibration: Calibration | None
    ) -> Predictions:
        """Boxes in a scene, of whose objects some are shown."""
        table, verdicts = self.results.detections, self.verdicts
        found = _rows(table, self.frame_of[name])
        best_first = found[np.argsort(-table.score[found], kind="stable")]
        place_of = {int(row): place for place, row in enumerate(self.objects_in(name)[is_shown])}
        return Predictions(
            table.name[best_first],
            table.score[best_first],
            _boxes_of(table, best_first, calibration),
            verdicts.verdict[best_first],
            verdicts.overlap[best_first],
            np.array([place_of.get(int(row), NOTHING) for row in verdicts.object_of[best_first]], dtype=int),
        )


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
