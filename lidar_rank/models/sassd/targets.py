"""Training targets of SA-SSD: foreground and offset of points, confidence of boxes."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from lidar_rank import devices
from lidar_rank.assign import AnchorIndex, assign_anchors
from lidar_rank.assign.tensors import assign_tensors
from lidar_rank.geometry import points_in_boxes
from lidar_rank.geometry.tensors import check_boxes

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
    last = _last_object_on_cpu(points, objects) if devices.on_cpu(points) else _last_object(points, objects)
    boxes = torch.cat(list(objects)).float()
    centres_m = torch.cat([boxes[:, :2], boxes[:, 2:3] + boxes[:, EDGE_BELOW_CENTRE[centre], None] / 2], dim=1)
    outside = last < 0
    # The last row is for points in no object.
    offsets_m = points[:, 1:].float() - F.pad(centres_m, (0, 0, 0, 1))[last]
    return outside.long(), offsets_m.masked_fill(outside[:, None], 0)


def _last_object_on_cpu(points: Tensor, objects: Sequence[Tensor]) -> Int[Tensor, " point"]:
    """Row of the last object that each point lies in, among those of all scans, or -1."""
    last, before = torch.full((len(points),), -1), 0
    for scan, boxes in enumerate(objects):
        here = (points[:, 0] == scan).nonzero().squeeze(1)
        inside = torch.from_numpy(points_in_boxes(points[here, 1:].float().numpy(), boxes.numpy()))
        for row, own in enumerate(inside, start=before):
            last[here[own]] = row
        before += len(boxes)
    return last


def _last_object(points: Tensor, objects: Sequence[Tensor]) -> Int[Tensor, " point"]:
    """As :func:`_last_object_on_cpu`, on any device: each point is compared with each object of its scan."""
    ends = list(accumulate(len(boxes) for boxes in objects))
    for boxes in objects:
        check_boxes(boxes, "objects", allow_empty=True)
    # One object without volume beside those of each scan, which no point lies in.
    rows = pad_sequence(
        [torch.arange(end - len(own) - 1, end, device=points.device) for end, own in zip(ends, objects, strict=True)],
        batch_first=True,
    )
    boxes = pad_sequence([F.pad(own[:, :7].double(), (0, 0, 1, 0)) for own in objects], batch_first=True)
    x, y, z_bottom, length, width, height, yaw = boxes.unbind(2)
    cos, sin = yaw.cos(), yaw.sin()
    scan = points[:, 0].long()
    px, py, pz = points[:, 1:].float().double()[:, :, None].unbind(1)
    dx, dy, dz = px - x[scan], py - y[scan], pz - z_bottom[scan]
    along, across = dx * cos[scan] + dy * sin[scan], dy * cos[scan] - dx * sin[scan]
    inside = (along.abs() < (length / 2)[scan]) & (across.abs() < (width / 2)[scan]) & (dz > 0) & (dz < height[scan])
    return rows[scan].where(inside, -1).amax(1)


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
    rules: dict[str, Any] = {"pos_iou_thr": CONFIDENT_IOU, "neg_iou_thr": CONFIDENT_IOU, "min_pos_iou": 0.0}
    if not devices.on_cpu(boxes):
        found = assign_tensors(boxes, objects, overlap="3d", **rules)
        return (found.matched < 0).long(), found.overlap
    only = np.zeros(len(objects), np.int64)
    on_cpu = assign_anchors(AnchorIndex(boxes.numpy(), "3d"), objects.numpy(), only, num_classes=1, **rules)
    return torch.from_numpy(on_cpu.labels), torch.from_numpy(on_cpu.overlap)
