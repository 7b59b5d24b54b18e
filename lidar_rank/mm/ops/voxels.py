"""Voxelisation: which voxel each point lies in, and voxels filled in the order in which points first meet them."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lidar_rank.kernels.voxels import OUTSIDE, fill_voxels, find_cells
from lidar_rank.mm.ops import dispatch


@torch.no_grad()
def dynamic_voxelize_forward(
    points: Float[Tensor, "point feature"],
    voxel_size: Float[Tensor, "3"],
    coors_range: Float[Tensor, "6"],
    coors: Int[Tensor, "point 3"],
    NDim: int,  # noqa: N803 - mmcv's name
) -> None:
    """Write z, y, x of the voxel of each point to ``coors``, or -1 for each where the point is outside of the range.

    Args:
        points: x, y, z in metres, and further features.
        voxel_size: x, y, z in metres, float32.
        coors_range: x_min, y_min, z_min, x_max, y_max, z_max in metres, float32. A point on a lower bound is inside.
        coors: int32, written.
        NDim: 3.
    """
    del NDim
    coors.copy_(_cells(points, voxel_size, coors_range))


@torch.no_grad()
def hard_voxelize_forward(
    points: Float[Tensor, "point feature"],
    voxel_size: Float[Tensor, "3"],
    coors_range: Float[Tensor, "6"],
    voxels: Float[Tensor, "max_voxels max_points feature"],
    coors: Int[Tensor, "max_voxels 3"],
    num_points_per_voxel: Int[Tensor, " max_voxels"],
    voxel_num: Int[Tensor, ""],
    max_points: int,
    max_voxels: int,
    NDim: int,  # noqa: N803 - mmcv's name
    deterministic: bool,
) -> None:
    """Gather points into voxels: the first ``max_points`` of each, the voxels in the order of their first points.

    Args:
        points: x, y, z in metres, and further features.
        voxel_size: x, y, z in metres, float32.
        coors_range: x_min, y_min, z_min, x_max, y_max, z_max in metres, float32. A point on a lower bound is inside.
        voxels: Zeros; points are written to it.
        coors: int32, zeros; z, y, x of the voxels are written to it.
        num_points_per_voxel: int32, zeros; written.
        voxel_num: int64 on the CPU; the number of voxels is written to it.
        max_points: Points that a voxel can hold.
        max_voxels: Voxels there can be; points of those met later are dropped.
        NDim: 3.
        deterministic: Accepted and ignored, for the answer is always the same.
    """
    del max_points, max_voxels, NDim, deterministic
    cells = _cells(points, voxel_size, coors_range)
    if not dispatch.uses_numba(points):
        voxel_num.fill_(_fill(points, cells, voxels, coors, num_points_per_voxel))
    elif points.dtype == torch.float16:  # which numba does not have
        dispatch.in_float32(_fill_on_cpu, (points,), (voxels,), cells, coors, num_points_per_voxel, voxel_num)
    else:
        _fill_on_cpu(points, voxels, cells, coors, num_points_per_voxel, voxel_num)


def _cells(points: Tensor, voxel_size: Tensor, coors_range: Tensor) -> Int[Tensor, "point 3"]:
    """Return z, y, x of the voxel of each point, -1 outside of the range; each step is rounded as in mmcv."""
    dispatch.check_dtype("voxelisation", points, torch.float16, torch.float32, torch.float64)
    low, size = coors_range[:3], voxel_size
    # Half away from zero, unlike torch.round.
    grid = torch.tensor([math.floor(cells + 0.5) for cells in ((coors_range[3:] - low) / size).tolist()])
    xyz = points[:, :3].float() if points.dtype == torch.float16 else points[:, :3]
    if dispatch.uses_numba(points):
        cells = torch.empty(xyz.shape, dtype=torch.int)
        find_cells(*(tensor.detach().numpy() for tensor in (xyz, low, size, grid, cells)))
        return cells
    low, size, grid = (tensor.to(points.device) for tensor in (low, size, grid))
    cell = ((xyz - low) / size).floor()
    return cell.where(((cell >= 0) & (cell < grid)).all(1, keepdim=True), OUTSIDE).int().flip(1)


def _fill_on_cpu(
    points: Tensor, voxels: Tensor, cells: Tensor, coors: Tensor, num_points_per_voxel: Tensor, voxel_num: Tensor
) -> None:
    tensors = points.contiguous(), cells, voxels, coors, num_points_per_voxel
    voxel_num.fill_(fill_voxels(*(tensor.detach().numpy() for tensor in tensors)))


def _fill(points: Tensor, cells: Tensor, voxels: Tensor, coors: Tensor, num_points_per_voxel: Tensor) -> int:
    """Do what the kernel :func:`fill_voxels` does by sorting, on any device."""
    max_voxels, max_points, _ = voxels.shape
    inside = (cells[:, 0] != OUTSIDE).nonzero().squeeze(1)
    z, y, x = cells[inside].long().unbind(1)
    found, voxel = ((z << 42) + (y << 21) + x).unique(return_inverse=True)
    # Number the voxels in the order of their first points.
    first = torch.full_like(found, len(points)).scatter_reduce(0, voxel, inside, "amin")
    first, by_first = first.sort()
    voxel = by_first.argsort()[voxel]
    # Number the points of each voxel in their order.
    count = voxel.bincount(minlength=len(first))
    by_voxel = voxel.argsort(stable=True)
    row = torch.empty_like(voxel)
    row[by_voxel] = torch.arange(len(voxel), device=points.device) - (count.cumsum(0) - count)[voxel[by_voxel]]
    fits = (voxel < max_voxels) & (row < max_points)
    num_voxels = min(len(first), max_voxels)
    voxels[voxel[fits], row[fits]] = points[inside[fits]]
    coors[:num_voxels] = cells[first[:num_voxels]]
    num_points_per_voxel[:num_voxels] = count[:num_voxels].clamp(max=max_points).int()
    return num_voxels
