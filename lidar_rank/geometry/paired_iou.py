"""Overlap of rotated boxes, row by row, in plain torch: differentiable and on any device."""

import torch
from torch import Tensor

from lidar_rank.shapes import Float

# Larger values come from a network that diverges; the volumes of smaller boxes fit into float32.
_MAX_MAGNITUDE = 1e9


def paired_iou_bev(a: Float[Tensor, "box 5"], b: Float[Tensor, "box 5"]) -> Float[Tensor, " box"]:
    """Intersection over union of the BEV rectangles ``a[i]`` and ``b[i]``.

    Args:
        a: Boxes (x, y, length, width, yaw), in metres and radians; length lies on x at yaw 0. A negative length or
            width counts as 0.
        b: The other boxes, one per row of ``a``.

    Returns:
        Values in [0, 1], float32 or wider, differentiable with respect to both sides. Identical boxes give exactly 1,
        two boxes without area give 0. The overlap has a kink at identical boxes, where moving, turning or resizing
        either box lowers it: the gradient there is zero, the mean of the one-sided derivatives. A row that holds NaN,
        infinity or a value of 1e9 and more gives 0 and no gradient.

    Raises:
        ValueError: the shapes are not (N, 5) and (N, 5).

    Example:
        >>> unit = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]])
        >>> paired_iou_bev(unit, unit + torch.tensor([0.5, 0.0, 0.0, 0.0, 0.0]))
        tensor([0.3333])
    """
    a, b = _prepared(a, b, sizes=slice(2, 4), width=5)
    return _ratio(_intersection_bev(a, b), a[:, 2:4].prod(-1) + b[:, 2:4].prod(-1))


def paired_iou_3d(a: Float[Tensor, "box 7"], b: Float[Tensor, "box 7"]) -> Float[Tensor, " box"]:
    """Intersection over union of the upright 3D boxes ``a[i]`` and ``b[i]``.

    Args:
        a: Boxes (x, y, z_bottom, length, width, height, yaw), LiDAR frame, in metres and radians. A negative size
            counts as 0.
        b: The other boxes, one per row of ``a``.

    Returns:
        As :func:`paired_iou_bev`, for volumes.

    Raises:
        ValueError: the shapes are not (N, 7) and (N, 7).
    """
    a, b = _prepared(a, b, sizes=slice(3, 6), width=7)
    rise = a[:, 2] - b[:, 2]
    height = torch.minimum(rise + a[:, 5], b[:, 5]) - torch.maximum(rise, torch.zeros_like(rise))
    intersection = _intersection_bev(bev_of(a), bev_of(b)) * height.clamp(min=0)
    return _ratio(intersection, a[:, 3:6].prod(-1) + b[:, 3:6].prod(-1))


def bev_of(boxes: Float[Tensor, "box 7"]) -> Float[Tensor, "box 5"]:
    """Columns (x, y, length, width, yaw) of upright boxes."""
    # A list of columns as the index would be copied to the device, which waits for it.
    return torch.cat([boxes[:, :2], boxes[:, 3:5], boxes[:, 6:7]], dim=1)


def _prepared(a: Tensor, b: Tensor, *, sizes: slice, width: int) -> tuple[Tensor, Tensor]:
    """Check the shapes, widen half precision, and set rows to 0 that hold NaN, infinity or a huge value."""
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] != width:
        raise ValueError(f"paired boxes must both be (N, {width}), got {tuple(a.shape)} and {tuple(b.shape)}")
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = a.to(dtype), b.to(dtype)
    usable = ((a.abs() < _MAX_MAGNITUDE) & (b.abs() < _MAX_MAGNITUDE)).all(-1, keepdim=True)
    return _clean(a, usable, sizes), _clean(b, usable, sizes)


def _clean(boxes: Tensor, usable: Tensor, sizes: slice) -> Tensor:
    boxes = boxes.where(usable, 0)
    return torch.cat([boxes[:, : sizes.start], boxes[:, sizes].clamp(min=0), boxes[:, sizes.stop :]], dim=-1)


def _ratio(intersection: Tensor, total: Tensor) -> Tensor:
    """Intersection over union; 0 where both boxes have no area."""
    union = total - intersection
    real = union > torch.finfo(union.dtype).tiny
    return (intersection.where(real, 0) / union.where(real, 1)).clamp(0, 1)


def _intersection_bev(a: Float[Tensor, "box 5"], b: Float[Tensor, "box 5"]) -> Float[Tensor, " box"]:
    r"""Area of the intersection, by Green's theorem on the edges of ``a`` alone.

    With b centred and axis-aligned, half length :math:`h` and half width :math:`k`,

    .. math:: |A \cap B| = \oint_{\partial A,\, |y| \le k} \mathrm{clip}(x, -h, h)\, dy

    so an edge of a adds its extent in y, clipped, times the mean of the clipped x along it. No crossing points are
    matched or sorted, which is why coincident and nearly parallel edges cost no accuracy.
    """
    half_length, half_width = b[:, 2:3] / 2, b[:, 3:4] / 2
    x, y = _corners_in_frame_of(a, b)
    x_end, y_end = x.roll(-1, -1), y.roll(-1, -1)
    y_in, y_end_in = _clip(y, half_width), _clip(y_end, half_width)
    x_in = x + (x_end - x) * _share(y_in - y, y, y_end, half_width)
    x_end_in = x_end + (x_end - x) * _share(y_end_in - y_end, y, y_end, half_width)
    # The clipped extents in y sum to zero: a constant taken from x changes nothing but the rounding error, and makes
    # boxes that lie beside each other give exactly 0.
    centre_x = _clip(x.mean(-1, keepdim=True), half_length).detach()
    return ((_mean_clipped(x_in, x_end_in, half_length) - centre_x) * (y_end_in - y_in)).sum(-1)


def _corners_in_frame_of(
    a: Float[Tensor, "box 5"], b: Float[Tensor, "box 5"]
) -> tuple[Float[Tensor, "box 4"], Float[Tensor, "box 4"]]:
    """Return x and y of the corners of ``a``, counter-clockwise, in the frame of ``b`` (its centre and heading)."""
    dx, dy = a[:, 0] - b[:, 0], a[:, 1] - b[:, 1]
    cos, sin = b[:, 4].cos(), b[:, 4].sin()
    centre_x, centre_y = dx * cos + dy * sin, dy * cos - dx * sin
    turn = a[:, 4] - b[:, 4]
    cos, sin = turn.cos(), turn.sin()
    length_x, length_y = a[:, 2] / 2 * cos, a[:, 2] / 2 * sin
    width_x, width_y = -a[:, 3] / 2 * sin, a[:, 3] / 2 * cos
    x = torch.stack([-length_x - width_x, length_x - width_x, length_x + width_x, width_x - length_x], dim=-1)
    y = torch.stack([-length_y - width_y, length_y - width_y, length_y + width_y, width_y - length_y], dim=-1)
    return centre_x[:, None] + x, centre_y[:, None] + y


def _clip(value: Tensor, limit: Tensor) -> Tensor:
    # Unlike clamp, minimum and maximum halve the gradient at a tie, which is the mean of the two sides of the kink.
    return torch.minimum(torch.maximum(value, -limit), limit)


def _mean_clipped(start: Tensor, end: Tensor, limit: Tensor) -> Tensor:
    """Mean of clip(x) for x going evenly from ``start`` to ``end``: the mean of the clipped ends plus a correction."""
    low, high = _clip(start, limit), _clip(end, limit)
    return (low + high + (high - low) * _share(start - low + end - high, start, end, limit)) / 2


def _share(part: Tensor, start: Tensor, end: Tensor, limit: Tensor) -> Tensor:
    """``part`` divided by the way from ``start`` to ``end``; 0 if the way has no length or lies beyond one limit.

    In these cases the clipped ends are equal and the share has no effect, but its gradient would not be finite.
    """
    way = end - start
    beyond = (torch.minimum(start, end) > limit) | (torch.maximum(start, end) < -limit)
    walked = ~beyond & (way.abs() > torch.finfo(way.dtype).tiny)
    return part.where(walked, 0) / way.where(walked, 1)
