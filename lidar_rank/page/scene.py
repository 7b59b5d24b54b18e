"""What the page shows of one scan."""

from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray

from lidar_rank.geometry import pairwise_iou_3d
from lidar_rank.predictions import Detections
from lidar_rank.shapes import Float, Int, Shaped

NOTHING = -1


@dataclass(frozen=True, eq=False)
class Scene:
    """A scan with its boxes.

    Attributes:
        name: Of the scan.
        points: x, y, z in metres and intensity.
        detections: Predicted boxes, best first, in the frame of the points.
        true_boxes: (x, y, z_bottom, length, width, height, yaw) of the labelled objects, or None where there are no
            labels.
        true_names: Class of each.
    """

    name: str
    points: Float[ndarray, "point 4"]
    detections: Detections
    true_boxes: Float[ndarray, "object 7"] | None = None
    true_names: Shaped[ndarray, " object"] = field(default_factory=lambda: np.zeros(0, dtype=np.str_))


def match_boxes(scene: Scene, min_overlap: float) -> Int[ndarray, " box"]:
    """Match predictions with objects of their class, the best prediction first, each with the overlap that is largest.

    Because better predictions choose first, the matches at a threshold on the score are those among the boxes above it.

    Args:
        scene: With labels.
        min_overlap: Smallest 3D IoU of a match.

    Returns:
        For each prediction the index of its object, or -1.
    """
    found = scene.detections
    matched = np.full(len(found), NOTHING)
    if scene.true_boxes is None or not len(scene.true_boxes) or not len(found):
        return matched
    iou = pairwise_iou_3d(found.lidar_boxes, scene.true_boxes)
    iou[found.names[:, None] != scene.true_names[None]] = 0
    for box in range(len(found)):
        best = int(np.argmax(iou[box]))
        if iou[box, best] >= min_overlap:
            matched[box] = best
            iou[:, best] = 0
    return matched
