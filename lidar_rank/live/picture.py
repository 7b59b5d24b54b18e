"""A scene as a picture, drawn without a display: each run in a panel, seen from behind the sensor."""

import io
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy import ndarray

from lidar_rank.live.scenes import RunScenes, boxes_at, point_colours
from lidar_rank.page import Scene
from lidar_rank.shapes import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BACKGROUND, TEXT = "#14171c", "#dfe3ea"
PANEL_INCH: Final = (8.0, 6.0)
# Where the page's camera stands at first: 32 m from a point 12 m ahead, 0.45 rad above the horizon.
TARGET_M, DISTANCE_M, ELEVATION_RAD, FIELD_OF_VIEW_RAD = (12.0, 0.0, 0.0), 32.0, 0.45, np.pi / 4
NEAR_M: Final = 0.5


def draw_picture(scenes: RunScenes, position: int, min_score: float) -> "Figure":
    """Draw a scene, with the boxes of each run in a panel of its own.

    Args:
        scenes: Of the runs.
        position: Of the scene.
        min_score: Predictions with a lower score are left out.

    Returns:
        A figure without a window. Save it with ``figure.savefig(path)``.
    """
    from matplotlib.figure import Figure

    scene = scenes.read(scenes.names[position])
    count = len(scenes.runs)
    figure = Figure(figsize=(PANEL_INCH[0] * count, PANEL_INCH[1]), dpi=100, facecolor=BACKGROUND, layout="constrained")
    for run, axes in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        shown = boxes_at(scene, run, min_score)
        if scenes.is_3d:
            _draw_scan(axes, scene)
            edges = shown.lines.reshape(-1, 2, 3)
            _draw_lines(axes, edges, np.repeat(shown.colours, len(edges) // max(len(shown.kinds), 1), axis=0))
        else:
            _draw_image(axes, scene, shown.boxes, shown.colours)
        title = "\n".join(filter(None, [f"{scenes.runs[run]}, {scene.name}: {shown.summary}", scene.note]))
        axes.set_title(title, color=TEXT, loc="left")
        axes.axis("off")
    return figure


def _draw_scan(axes: "Axes", scene: Scene) -> None:
    half = np.tan(FIELD_OF_VIEW_RAD / 2)
    axes.set(xlim=(-half * PANEL_INCH[0] / PANEL_INCH[1], half * PANEL_INCH[0] / PANEL_INCH[1]), ylim=(-half, half))
    axes.set_aspect("equal")
    if scene.points is not None:
        places, depth_m = _project(scene.points[:, :3].astype(np.float64))
        seen = depth_m > NEAR_M
        right, up = places[seen].T
        axes.scatter(right, up, s=30 / depth_m[seen], c=point_colours(scene.points[seen]), linewidths=0)


def _draw_lines(axes: "Axes", ends_m: Float[ndarray, "line 2 3"], colours: Float[ndarray, "line 3"]) -> None:
    from matplotlib.collections import LineCollection

    places, depth_m = _project(ends_m.reshape(-1, 3))
    seen = (depth_m.reshape(-1, 2) > NEAR_M).all(axis=1)
    axes.add_collection(LineCollection(places.reshape(-1, 2, 2)[seen], colors=colours[seen], linewidths=1.4))


def _project(points_m: Float[ndarray, "point 3"]) -> tuple[Float[ndarray, "point 2"], Float[ndarray, " point"]]:
    """Tangents to the right and upwards, and depth in metres, as the camera sees points."""
    cos, sin = np.cos(ELEVATION_RAD), np.sin(ELEVATION_RAD)
    back, up = np.array([-cos, 0.0, sin]), np.array([sin, 0.0, cos])
    relative = points_m - (np.array(TARGET_M) + DISTANCE_M * back)
    depth_m = -relative @ back
    seen = np.stack([-relative[:, 1], relative @ up], axis=1)
    return seen / np.maximum(depth_m, NEAR_M)[:, None], depth_m


def _draw_image(
    axes: "Axes", scene: Scene, boxes_px: Float[ndarray, "box 4"], colours: Float[ndarray, "box 3"]
) -> None:
    from matplotlib.patches import Rectangle
    from PIL import Image

    if scene.picture is not None:
        width, height = scene.picture.size
        axes.imshow(np.asarray(Image.open(io.BytesIO(scene.picture.jpeg))), extent=(0, width, height, 0))
    for (left, top, right, bottom), colour in zip(boxes_px, colours, strict=True):
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.4))
    if scene.picture is None:
        axes.autoscale_view()
        axes.invert_yaxis()
