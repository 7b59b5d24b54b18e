"""Training targets of SA-SSD: foreground and offset of points, confidence of boxes."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lidar_rank.assign import AnchorIndex, assign_anchors
from lidar_rank.geometry import points_in_boxes

EDGE_BELOW_CENTRE: Final = {"half_height": 5, "half_width": 4}
"""Column of a box of which half is the height of the centre above the bottom."""
CONFIDENT_IOU: Final = 0.7


@torch.no_grad()
def auxiliary_targets(
    points: Float[Tensor, "point 4"], objects: Sequence[Float[Tensor, "object 7"]], centre: str = "half_height"
) -> tuple[Int[Tensor, " point"], Float[Tensor, "point 3"]]:
    """Training targets of each point.

    Args:
        points: Scan, x, y, z, in metres.
        objects: Boxes of each scan.
        centre: As in :class:`lidar_rank.models.sassd.AuxiliaryNetwork`.

    Returns:
        Labels, 0 in an object and 1 for background, and the offset of the point from the object's centre in metres,
        which is 0 for background. A point in several objects belongs to the last one.

    Raises:
        ValueError: a box is not finite or has a negative size.
    """
    labels = torch.ones(len(points), dtype=torch.int64, device=points.device)
    offsets_m = torch.zeros(len(points), 3, device=points.device)
    for scan, boxes in enumerate(objects):
        here = (points[:, 0] == scan).nonzero().squeeze(1)
        position_m = points[here, 1:].float()
        inside = torch.from_numpy(points_in_boxes(position_m.cpu().numpy(), boxes.cpu().numpy())).to(points.device)
        order = torch.arange(1, len(boxes) + 1, device=points.device)
        last = (inside * order[:, None]).amax(0) - 1 if len(boxes) else labels.new_full((len(here),), -1)
        found = last >= 0
        centres_m = boxes[:, :3].float().clone()
        centres_m[:, 2] += boxes[:, EDGE_BELOW_CENTRE[centre]] / 2
        labels[here[found]] = 0
        offsets_m[here[found]] = position_m[found] - centres_m[last[found]]
    return labels, offsets_m


@torch.no_grad()
def confidence_targets(
    boxes: Float[Tensor, "box 7"], objects: Float[Tensor, "object 7"]
) -> tuple[Int[Tensor, " box"], Float[Tensor, " box"]]:
    """Training targets of the confidence of each box.

    Args:
        boxes: Decoded boxes of one scan.
        objects: Labelled boxes of the scan.

    Returns:
        Labels, 0 for a box that overlaps an object by at least 0.7 in 3D or is the best box of an object, and 1 for the
        others; and the largest 3D overlap of each box with an object.

    Raises:
        ValueError: a box is not finite or has a size that is not positive.
    """
    found = assign_anchors(
        AnchorIndex(boxes.cpu(), "3d"),
        objects.cpu(),
        np.zeros(len(objects), np.int64),
        num_classes=1,
        pos_iou_thr=CONFIDENT_IOU,
        neg_iou_thr=CONFIDENT_IOU,
        min_pos_iou=0.0,
    )
    return torch.from_numpy(found.labels).to(boxes.device), torch.from_numpy(found.overlap).to(boxes.device)
