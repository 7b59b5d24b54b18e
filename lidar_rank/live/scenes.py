"""What every live view draws: the scans that runs were tested on, coloured points, and boxes as lines."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.analysis.pictures import EDGES
from lidar_rank.kitti.predictions import box_corners
from lidar_rank.page import Run, Scene, SceneReader
from lidar_rank.page.report import compare_data
from lidar_rank.page.scene import COLOURS
from lidar_rank.page.verdicts import NOTHING
from lidar_rank.shapes import Float, Shaped

LOW_M, SPAN_M = -2.0, 3.5  # heights of the first and last colour of points
VERDICTS: Final = tuple(COLOURS)[:3]


class RunScenes:
    """The scenes of runs on the same data.

    Args:
        runs: By name.

    Attributes:
        runs: Names of the runs.
        names: Names of the scans or images.
        notes: What stands in the way of a comparison.
        is_3d: Whether they are scans.

    Raises:
        ValueError: no run has boxes to show.
    """

    def __init__(self, runs: Mapping[str, Run]) -> None:
        self.runs = list(runs)
        self.notes, results = compare_data(runs)
        known = [own for own in results if own is not None]
        if not known:
            raise ValueError(" ".join(self.notes) or "there is no run to show")
        self.names = list(dict.fromkeys(name for own in known for name in own.objects.frame_ids))
        self.is_3d = known[0].is_3d
        self.read = lru_cache(maxsize=8)(SceneReader(results).read)

    def position(self, name: str | None) -> int:
        """Place of a scan in :attr:`names`; the first by default.

        Raises:
            ValueError: there is no such scan.
        """
        if name is None:
            return 0
        if name not in self.names:
            raise ValueError(f"no scan {name!r} in these runs: there are {len(self.names)}, such as {self.names[0]!r}")
        return self.names.index(name)


@dataclass(frozen=True, eq=False)
class ShownBoxes:
    """Boxes of a scene at a threshold on the score, objects first.

    Attributes:
        boxes: As those of :class:`lidar_rank.page.Objects`.
        kinds: Key of each in ``COLOURS``.
        summary: How many are found, false and missed.
    """

    boxes: Float[ndarray, "box column"]
    kinds: Shaped[ndarray, " box"]
    summary: str

    @property
    def colours(self) -> Float[ndarray, "box 3"]:
        """Red, green and blue of each, 0 to 1."""
        return np.array([rgb(COLOURS[kind]) for kind in self.kinds]).reshape(-1, 3)

    @property
    def lines(self) -> Float[ndarray, "box 13 2 3"]:
        """Ends of the edges of boxes of scans, and of a line from the middle of the top forward."""
        corners = box_corners(self.boxes)
        top = corners[:, 1::2]  # behind right, behind left, in front right, in front left
        forward = np.stack([top.mean(axis=1), top[:, 2:].mean(axis=1)], axis=1)
        return np.concatenate([corners[:, np.array(EDGES)], forward[:, None]], axis=1)


def boxes_at(scene: Scene, run: int, min_score: float) -> ShownBoxes:
    """What a run shows of a scene with a threshold on the score."""
    found = scene.predictions[run]
    objects = scene.objects
    num_objects = 0 if objects is None else len(objects.names)
    score_of = np.full(num_objects, -1.0)
    boxes, kinds = [], []
    predicted: list[str] = []
    if found is not None:
        shown = found.scores >= min_score
        predicted = ["predicted"] * int(shown.sum())
        if found.verdicts is not None and found.object_of is not None:
            predicted = [VERDICTS[verdict] for verdict in found.verdicts[shown]]
            matched = found.object_of != NOTHING
            score_of[found.object_of[matched]] = found.scores[matched]
    if objects is not None:
        of_counted = np.where(score_of >= min_score, "object", "missed")
        kinds.append(np.where(objects.is_counted[run], of_counted, "ignored"))
        boxes.append(objects.boxes)
    if found is not None:
        kinds.append(np.array(predicted, dtype=np.str_))
        boxes.append(found.boxes[shown])
    names = np.concatenate([np.zeros(0, dtype=np.str_), *kinds])
    columns = np.concatenate(boxes) if boxes else np.zeros((0, 7))
    return ShownBoxes(columns, names, _summary(found is not None, objects is not None, names))


def _summary(has_result: bool, has_objects: bool, kinds: Shaped[ndarray, " box"]) -> str:
    if not has_result:
        return "no result for this scan"
    if not has_objects:
        return f"{len(kinds)} boxes"
    return ", ".join(f"{int((kinds == kind).sum())} {kind}" for kind in ("found", "false", "missed"))


def point_colours(points: Float[ndarray, "point 4"]) -> Float[ndarray, "point 3"]:
    """Colour each point by its height, as the page does."""
    height = np.clip((points[:, 2] - LOW_M) / SPAN_M, 0, 1)[:, None]
    return np.clip([1.5, 1.4, 1.5] - np.abs(4 * height - [3.2, 2.0, 0.9]), 0.15, 1.0)


def rgb(colour: str) -> tuple[float, float, float]:
    """Red, green and blue, 0 to 1, of ``#rrggbb``."""
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue
