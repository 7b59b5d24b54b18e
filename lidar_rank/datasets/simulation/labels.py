"""Labels as KITTI's annotators make them, from a simulated world."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import open3d as o3d
from jaxtyping import Float, Int

from lidar_rank.datasets.calibration import Calibration, wrap_angle
from lidar_rank.datasets.simulation.builder import World, WorldObject
from lidar_rank.datasets.simulation.camera import IMAGE_SIZE, camera_rays
from lidar_rank.datasets.simulation.scanner import Scene

NEAR_PLANE_M: Final = 0.3
# Annotators skip what is hard to tell apart: the smaller in the image, the more often. It becomes a DontCare area.
ANNOTATED_HEIGHT_PX: Final = (14.0, 27.0)
# ... and what has fewer points than a number drawn from this range, again for every object.
ANNOTATED_POINTS: Final = (-2.0, 8.0)
MAX_DEPTH_M: Final = 80.0
# Least visible share of an object for the occlusion levels 0, 1 and 2; with less the level is 3, unknown.
VISIBLE_SHARES: Final = (0.97, 0.60, 0.10)
LABELLED_SHARE: Final = 0.08
# Of what is hidden more than this, annotators see nothing.
NOTICED_SHARE: Final = 0.03
# Cars cut off by more than this get level 3 too.
UNKNOWN_TRUNCATION: Final = 0.9
RAYS_PER_SIDE: Final = 11


@dataclass(frozen=True, eq=False)
class View:
    """An object as the camera sees it.

    Attributes:
        bbox_px: left, top, right, bottom of the part inside the image.
        truncation: Share of the object's whole image box that lies outside the image.
        depth_m: Depth of its centre.
        visible: Share of the rays through the object that reach it first.
    """

    bbox_px: Float[np.ndarray, " 4"]
    truncation: float
    depth_m: float
    visible: float


def label_lines(
    world: World, calibration: Calibration, num_points: Int[np.ndarray, " object"], rng: np.random.Generator
) -> list[str]:
    """Lines of the label file of a simulated frame, nearest object first, DontCare areas last.

    Args:
        world: The objects, and what hides them.
        calibration: Of the frame.
        num_points: Points of the scan on each object of the world.
        rng: Which of the small objects an annotator labels.

    Returns:
        KITTI's 15 columns, numbers to two decimals. Objects outside the image or wholly hidden have no line; those that
        are too small, too far or too hidden for an annotator make a DontCare area.
    """
    labels, areas = [], []
    views = _views(world, calibration)
    for index, view in sorted(views.items(), key=lambda item: item[1].depth_m):
        height_px = view.bbox_px[3] - view.bbox_px[1]
        too_small = height_px < rng.uniform(*ANNOTATED_HEIGHT_PX) or num_points[index] < rng.uniform(*ANNOTATED_POINTS)
        if too_small or view.visible < LABELLED_SHARE or view.depth_m > MAX_DEPTH_M:
            areas.append("DontCare -1 -1 -10 " + _numbers(view.bbox_px) + " -1 -1 -1 -1000 -1000 -1000 -10")
        else:
            labels.append(_object_line(world.objects[index], view, calibration))
    return labels + areas


def _object_line(thing: WorldObject, view: View, calibration: Calibration) -> str:
    location, size, yaw = (column[0] for column in calibration.lidar_boxes_to_camera(thing.box[None]))
    alpha = float(wrap_angle(yaw - np.arctan2(location[0], location[2])))
    occlusion = 3 if view.truncation > UNKNOWN_TRUNCATION else sum(view.visible < share for share in VISIBLE_SHARES)
    columns = np.concatenate([[alpha], view.bbox_px, size, location, [yaw]])
    return f"{thing.name} {view.truncation:.2f} {occlusion} {_numbers(columns)}"


def _numbers(values: Float[np.ndarray, " value"]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def _views(world: World, calibration: Calibration) -> dict[int, View]:
    """How the camera sees the objects of which it sees something, by their index."""
    framed = {i: _image_box(thing.vertices.astype(np.float64), calibration) for i, thing in enumerate(world.objects)}
    inside = {i: frame for i, frame in framed.items() if frame is not None}
    if not inside:
        return {}
    boxes = np.stack([box for box, _ in inside.values()])
    shares = visible_shares(world.scene, calibration, np.array(list(inside)), boxes)
    centres = np.stack([world.objects[i].box[:3] for i in inside])
    depths = calibration.lidar_to_camera(centres)[:, 2]
    return {
        i: View(box, truncation, float(depth), float(share))
        for (i, (box, truncation)), depth, share in zip(inside.items(), depths, shares, strict=True)
        if share > NOTICED_SHARE
    }


def _image_box(
    vertices: Float[np.ndarray, "vertex 3"], calibration: Calibration
) -> tuple[Float[np.ndarray, " 4"], float] | None:
    """Image box of a mesh, cut to the image, and its truncation; None where nothing is in the image."""
    points = calibration.lidar_to_camera(vertices)
    if points[:, 2].max() < NEAR_PLANE_M:
        return None
    # Parts beside the camera project to infinity: held at the near plane they stay far outside the image.
    points[:, 2] = np.maximum(points[:, 2], NEAR_PLANE_M)
    pixels, _ = calibration.camera_to_image(points)
    low, high = pixels.min(0), pixels.max(0)
    limit = np.array(IMAGE_SIZE) - 1.0
    cut_low, cut_high = np.clip(low, 0, limit), np.clip(high, 0, limit)
    area = float(np.prod(cut_high - cut_low))
    if min(cut_high - cut_low) < 1:
        return None
    return np.concatenate([cut_low, cut_high]), 1 - area / float(np.prod(high - low))


def visible_shares(
    scene: Scene,
    calibration: Calibration,
    owners: Int[np.ndarray, " object"],
    boxes_px: Float[np.ndarray, "object 4"],
) -> Float[np.ndarray, " object"]:
    """Share of the camera rays through each object that meet it before anything else.

    Args:
        scene: The triangles and whose they are.
        calibration: Of the frame.
        owners: Objects, by their number in ``scene.owner``.
        boxes_px: Their image boxes; a grid of rays is cast through each.

    Returns:
        Share in [0, 1]; 0 where no ray of the grid meets the object.
    """
    steps = (np.arange(RAYS_PER_SIDE) + 0.5) / RAYS_PER_SIDE
    across, down = (g.ravel() for g in np.meshgrid(steps, steps))
    low, size = boxes_px[:, None, :2], (boxes_px[:, 2:] - boxes_px[:, :2])[:, None]
    pixels = (low + size * np.stack([across, down], -1)).reshape(-1, 2)
    rays = camera_rays(calibration, pixels)
    crossed = scene.caster.list_intersections(o3d.core.Tensor(rays), nthreads=1)
    ray, distance = crossed["ray_ids"].numpy().astype(np.int64), crossed["t_hit"].numpy()
    owner = scene.owner[crossed["primitive_ids"].numpy().astype(np.int64)]
    wanted = np.repeat(owners, len(across))
    nearest = np.full((2, len(rays)), np.inf, np.float32)
    own = owner == wanted[ray]
    np.minimum.at(nearest[0], ray[own], distance[own])
    np.minimum.at(nearest[1], ray[~own], distance[~own])
    meets = np.isfinite(nearest[0]).reshape(len(owners), -1)
    first = (nearest[0] < nearest[1]).reshape(len(owners), -1)
    return first.sum(1) / np.maximum(meets.sum(1), 1)
