"""Losses of rotated boxes as a whole: overlap, and how far boxes that do not overlap are apart."""

from typing import Literal

import torch
from torch import Tensor

from lidar_rank.geometry.paired_iou import paired_iou_3d, paired_iou_bev
from lidar_rank.losses._common import (
    Boxes,
    LocalizationLoss,
    localization_loss,
    reduce_rows,
    require_boxes,
    sizes_of,
)
from lidar_rank.losses._options import NonNegative, Reduction
from lidar_rank.losses._shapes import Float

__all__ = ["RotatedIoULoss", "rotated_iou_loss"]

FARTHEST = 1e6  # coordinates and sizes beyond this come from a network that diverges


@localization_loss
def rotated_iou_loss(
    pred: Float[Tensor, "positive dimension"],  # noqa: ARG001
    target: Float[Tensor, "positive dimension"],  # noqa: ARG001
    *,
    iou: Float[Tensor, " positive"] | None = None,  # noqa: ARG001
    boxes: Boxes | None = None,
    kind: Literal["iou", "giou", "diou", "odiou"] = "diou",
    enclosing: Literal["target", "axes"] = "target",
    yaw_weight: NonNegative = 1.25,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    r"""One minus the overlap of each regressed box with its object, and what else pulls the box to the object.

    With c the distance of the centres, d the diagonal and V the volume of a box that encloses both boxes, and U the
    volume of their union,

    .. math::
        \ell_{iou} &= 1 - iou, \quad \ell_{giou} = \ell_{iou} + \frac{V - U}{V}, \quad
        \ell_{diou} = \ell_{iou} + \frac{c^2}{d^2} \\
        \ell_{odiou} &= \ell_{diou} + \gamma (1 - |\cos(yaw_{pred} - yaw_{true})|)

    3D boxes overlap, and are enclosed, in height too. Boxes seen from above, and the axis-aligned boxes of images, have
    areas instead of volumes. The gradient is that of the value: at boxes that do not overlap, ``"iou"`` has none.

    Source: Zheng et al., "Distance-IoU Loss", AAAI 2020, eq. 7; Rezatofighi et al., "Generalized Intersection over
    Union", CVPR 2019; Zheng et al., "SE-SSD", CVPR 2021, eq. 3. The code of SE-SSD takes the common height of both
    boxes for d where its paper draws the enclosing box; we take the paper.

    Args:
        pred: Predicted box deltas; not used.
        target: Their truth; not used.
        iou: Not used.
        boxes: Regressed boxes, from which the gradient passes, and those of their objects, decoded, in one unit:
            (x, y, z_bottom, length, width, height, yaw), (x, y, length, width, yaw) seen from above, or (left, top,
            right, bottom).
        kind: Which of the four.
        enclosing: Sides of the enclosing box: along the object's own, ``"target"``, so that a rotation of the scene
            changes nothing, or along x and y, ``"axes"``.
        yaw_weight: :math:`\gamma` of ``"odiou"``, >= 0. A box that is turned by half a circle counts as not turned.
        reduction: As in :func:`lidar_rank.losses.smooth_l1_loss`.

    Returns:
        A scalar, or shape (positive,) for ``"none"``. The four are at most 1, 2, 2 and 2 + yaw_weight.

    Raises:
        ValueError: ``boxes`` is missing or holds values that are not finite, a size of a regressed box is negative or
            one of an object not positive, or an input's shape, dtype or value, or an option, is not as described.

    Example:
        >>> boxes = torch.tensor([[0.5, 0.0, 4.0, 2.0, 0.0]]), torch.tensor([[0.0, 0.0, 4.0, 2.0, 0.0]])
        >>> rotated_iou_loss(torch.zeros(1, 5), torch.zeros(1, 5), boxes=boxes)
        tensor(0.2325)
    """
    boxes = require_boxes("rotated_iou_loss", boxes)
    regressed, true = (_with_yaw(part).clamp(-FARTHEST, FARTHEST) for part in boxes)
    overlap = (paired_iou_3d if true.shape[1] == 7 else paired_iou_bev)(regressed, true)
    loss = 1 - overlap
    offset, sides = _enclosing_box(regressed, true, true[:, -1] if enclosing == "target" else 0 * true[:, -1])
    tiny = torch.finfo(loss.dtype).tiny
    if kind == "giou":
        union = (sizes_of(regressed).prod(1) + sizes_of(true).prod(1)) / (1 + overlap)
        loss = loss + 1 - union / sides.prod(1).clamp(min=tiny)
    if kind in ("diou", "odiou"):
        loss = loss + offset.square().sum(1) / sides.square().sum(1).clamp(min=tiny)
    if kind == "odiou":
        loss = loss + yaw_weight * (1 - (regressed[:, -1] - true[:, -1]).cos().abs())
    return reduce_rows(loss.unsqueeze(1), reduction)


class RotatedIoULoss(LocalizationLoss):
    """Module form of :func:`rotated_iou_loss`."""

    function = staticmethod(rotated_iou_loss)


def _with_yaw(boxes: Float[Tensor, "positive column"]) -> Float[Tensor, "positive of_rotated"]:
    """Write left, top, right, bottom as a box seen from above; other boxes stay."""
    if boxes.shape[1] != 4:
        return boxes
    start, end = boxes.split(2, 1)
    return torch.cat([(start + end) / 2, end - start, torch.zeros_like(start[:, :1])], 1)


def _enclosing_box(
    regressed: Float[Tensor, "positive column"], true: Float[Tensor, "positive column"], yaw: Float[Tensor, " positive"]
) -> tuple[Float[Tensor, "positive axis"], Float[Tensor, "positive axis"]]:
    """Return centre of the regressed box from that of its object, and sides of the box of this yaw around both."""
    x, y = regressed[:, 0] - true[:, 0], regressed[:, 1] - true[:, 1]
    offset = [x * yaw.cos() + y * yaw.sin(), y * yaw.cos() - x * yaw.sin()]
    if true.shape[1] == 7:
        offset.append(regressed[:, 2] - true[:, 2] + (regressed[:, 5] - true[:, 5]) / 2)
    centre = torch.stack(offset, 1)
    reach, true_reach = _reach(regressed, yaw), _reach(true, yaw)
    sides = torch.maximum(centre + reach, true_reach) - torch.minimum(centre - reach, -true_reach)
    return centre, sides


def _reach(boxes: Float[Tensor, "positive column"], yaw: Float[Tensor, " positive"]) -> Float[Tensor, "positive axis"]:
    """How far each box reaches from its centre along the axes of a frame of this yaw."""
    half = sizes_of(boxes) / 2
    turn = boxes[:, -1:] - yaw[:, None]
    along, across = turn.cos().abs(), turn.sin().abs()
    return torch.cat([half[:, :2] * along + half[:, :2].flip(1) * across, half[:, 2:]], 1)
