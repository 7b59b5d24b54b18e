"""Labels of a simulated world, chosen as KITTI's annotators choose them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Int

from lidar_rank.geometry.boxes import wrap_angle
from lidar_rank.kitti.calibration import Calibration
from lidar_rank.kitti.predictions import box_corners
from lidar_rank.simulation.builder import World, WorldObject
from lidar_rank.simulation.camera import IMAGE_SIZE, camera_rays
from lidar_rank.simulation.scanner import Scene, cast

NEAR_PLANE_M: Final = 0.3
# Annotators leave out objects that are hard to recognise, the more often the smaller and the more hidden they are.
# These become DontCare areas. An object is too small if its height in the image, times its visible share to the power
# HIDING_POWER, is below a number that is drawn from this range for each object.
ANNOTATED_HEIGHT_PX: Final = (11.0, 28.0)
HIDING_POWER: Final = 0.23
# They also leave out objects with fewer points than a number that is drawn from this range for each object.
ANNOTATED_POINTS: Final = (-4.0, 5.0)
MAX_DEPTH_M: Final = 80.0
# Smallest visible share of an object for the occlusion levels 0, 1 and 2; below these the level is 3, unknown.
VISIBLE_SHARES: Final = (0.985, 0.56, 0.10)
LABELLED_SHARE: Final = 0.08
# Objects with a smaller visible share are not noticed at all: they get neither a label nor a DontCare area.
NOTICED_SHARE: Final = 0.03
# Objects with a larger truncation also get level 3.
UNKNOWN_TRUNCATION: Final = 0.9
RAYS_PER_OBJECT: Final = 81
# How far behind a surface a ray starts again.
PAST_SURFACE_M: Final = 1e-3


@dataclass(frozen=True, eq=False)
class View:
    """An object as the camera sees it.

    Attributes:
        bbox_px: Left, top, right, bottom of the part inside the image.
        truncation: Share of the image box around its whole 3D box that lies outside the image.
        depth_m: Depth of its centre.
        visible: Share of the rays through the object on which it is the first surface.
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
        world: The objects, and everything that hides them.
        calibration: Calibration of the frame.
        num_points: Number of points of the scan on each object of the world.
        rng: Decides which of the small objects are labelled.

    Returns:
        Lines of KITTI's 15 columns, with numbers to two decimals. Objects outside the image or entirely hidden have no
        line. Objects that are too small, too far or too hidden for an annotator become DontCare areas.
    """
    labels, areas = [], []
    views = _views(world, calibration)
    for index, view in sorted(views.items(), key=lambda item: item[1].depth_m):
        height_px = (view.bbox_px[3] - view.bbox_px[1]) * view.visible**HIDING_POWER
        too_small = height_px < rng.uniform(*ANNOTATED_HEIGHT_PX) or num_points[index] < rng.uniform(*ANNOTATED_POINTS)
        if too_small or view.visible < LABELLED_SHARE or view.depth_m > MAX_DEPTH_M:
            areas.append(view.bbox_px)
        else:
            labels.append(_object_line(world.objects[index], view, calibration))
    return labels + [f"DontCare -1 -1 -10 {_numbers(area)} -1 -1 -1 -1000 -1000 -1000 -10" for area in _merged(areas)]


def _merged(areas: Sequence[Float[np.ndarray, " 4"]]) -> list[Float[np.ndarray, " 4"]]:
    """Merge areas that overlap in the image, as annotators do."""
    merged: list[Float[np.ndarray, " 4"]] = []
    for area in areas:
        overlaps = [bool((area[:2] <= other[2:]).all() and (other[:2] <= area[2:]).all()) for other in merged]
        group = np.stack([area, *compress(merged, overlaps)])
        apart = [other for other, overlap in zip(merged, overlaps, strict=True) if not overlap]
        merged = [*apart, np.concatenate([group[:, :2].min(0), group[:, 2:].max(0)])]
    return merged


def _object_line(thing: WorldObject, view: View, calibration: Calibration) -> str:
    location, size, yaw = (column[0] for column in calibration.lidar_boxes_to_camera(thing.box[None]))
    alpha = float(wrap_angle(yaw - np.arctan2(location[0], location[2])))
    occlusion = 3 if view.truncation > UNKNOWN_TRUNCATION else sum(view.visible < share for share in VISIBLE_SHARES)
    columns = np.concatenate([[alpha], view.bbox_px, size, location, [yaw]])
    return f"{thing.name} {view.truncation:.2f} {occlusion} {_numbers(columns)}"


def _numbers(values: Float[np.ndarray, " value"]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def _views(world: World, calibration: Calibration) -> dict[int, View]:
    """Views of the objects that the camera sees at least in part, by their index."""
    if not world.objects:
        return {}
    boxes, _ = _image_boxes([thing.vertices for thing in world.objects], calibration)
    # Image boxes surround the body; KITTI's truncation is that of the projected 3D box.
    _, truncation = _image_boxes(box_corners(np.stack([thing.box for thing in world.objects])), calibration)
    inside = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= 1).all(1))
    shares = visible_shares(world.scene, calibration, inside, boxes[inside])
    depth = calibration.lidar_to_camera(np.stack([thing.box[:3] for thing in world.objects]))[:, 2]
    return {
        int(i): View(boxes[i], float(truncation[i]), float(depth[i]), float(share))
        for i, share in zip(inside, shares, strict=True)
        if share > NOTICED_SHARE
    }


def _image_boxes(
    meshes: Sequence[Float[np.ndarray, "vertex 3"]] | Float[np.ndarray, "mesh vertex 3"], calibration: Calibration
) -> tuple[Float[np.ndarray, "mesh 4"], Float[np.ndarray, " mesh"]]:
    """Image boxes of meshes, clipped to the image (empty if outside), and their truncation."""
    starts = np.cumsum([0, *(len(vertices) for vertices in meshes[:-1])])
    points = calibration.lidar_to_camera(np.concatenate(meshes).astype(np.float64))
    in_front = np.maximum.reduceat(points[:, 2], starts) >= NEAR_PLANE_M
    # Vertices beside the camera would project to infinity. Moved to the near plane, they stay far outside the image.
    points[:, 2] = np.maximum(points[:, 2], NEAR_PLANE_M)
    pixels, _ = calibration.camera_to_image(points)
    low, high = np.minimum.reduceat(pixels, starts), np.maximum.reduceat(pixels, starts)
    limit = np.array(IMAGE_SIZE) - 1.0
    cut_low, cut_high = np.clip(low, 0, limit), np.clip(high, 0, limit) * in_front[:, None]
    truncation = 1 - np.prod(cut_high - cut_low, 1) / np.prod(high - low, 1)
    return np.concatenate([cut_low, cut_high], 1), truncation


def visible_shares(
    scene: Scene,
    calibration: Calibration,
    owners: Int[np.ndarray, " object"],
    boxes_px: Float[np.ndarray, "object 4"],
) -> Float[np.ndarray, " object"]:
    """Share of the camera rays through each object on which the object is the first surface.

    Args:
        scene: The triangles and their owners.
        calibration: Calibration of the frame.
        owners: Objects, by their number in ``scene.owner``.
        boxes_px: Image boxes of the objects. Rays are spread evenly over each box.

    Returns:
        Share in [0, 1]; 0 where no ray meets the object.
    """
    # Steps of the golden ratio: no two rays share a row or a column, which resolves vertical and horizontal edges well.
    step = np.arange(RAYS_PER_OBJECT) + 0.5
    within = np.stack([step / RAYS_PER_OBJECT, step * 0.6180339887 % 1], -1)
    low, size = boxes_px[:, None, :2], (boxes_px[:, 2:] - boxes_px[:, :2])[:, None]
    rays = camera_rays(calibration, (low + size * within).reshape(-1, 2))
    wanted = np.repeat(owners, RAYS_PER_OBJECT)
    passed = _surfaces_before(scene, rays, wanted).reshape(-1, RAYS_PER_OBJECT)
    return (passed == 0).sum(1) / np.maximum((passed >= 0).sum(1), 1)


def _surfaces_before(
    scene: Scene, rays: Float32[np.ndarray, "ray 6"], wanted: Int[np.ndarray, " ray"]
) -> Int[np.ndarray, " ray"]:
    """Number of surfaces in front of the wanted object on each ray, -1 where the ray does not meet the object."""
    rays, going = rays.copy(), np.arange(len(rays))
    passed = np.full(len(rays), -1)
    surfaces = 0
    while len(going):
        hits = cast(scene, rays[going])
        own = (hits.triangle >= 0) & (scene.owner[hits.triangle] == wanted[going])
        passed[going[own]] = surfaces
        hidden = np.flatnonzero((hits.triangle >= 0) & ~own)
        going = going[hidden]
        rays[going, :3] += (hits.range_m[hidden, None] + PAST_SURFACE_M) * rays[going, 3:]
        surfaces += 1
    return passed
