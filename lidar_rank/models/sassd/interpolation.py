"""Interpolation of voxel features at points."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from lidar_rank import devices
from lidar_rank.kernels import three_nn

# Bounds the memory of a search that is not on a CPU to some hundred megabytes.
_PAIRS_AT_ONCE = 1 << 23
# A search among neighbouring voxels ends at so many of their smallest edges: nearly all points have three within them.
_REACH_EDGES = 2
# Bits of each coordinate in the number of a voxel: enough for 32,000 voxels to either side.
_BITS = 16


def interpolate(
    points: Float[Tensor, "point 4"],
    voxels: Float[Tensor, "voxel 4"],
    features: Float[Tensor, "voxel channel"],
    voxel_size_m: Sequence[float],
) -> Float[Tensor, "point channel"]:
    """Mean of the features of the three nearest voxels of the same scan, weighted by inverse distance.

    Source: Qi et al., "PointNet++", NIPS 2017, eq. 2, with three neighbours and the first power of the distance.

    Args:
        points: Scan, x, y, z, in metres.
        voxels: Scan, x, y, z of the centre of each voxel, in metres, on one grid.
        features: One row per voxel; gradients flow to them, but not to the positions.
        voxel_size_m: Size of a voxel in x, y and z.

    Returns:
        One row per point: the mean over all voxels of a scan that has fewer than three, zero where it has none.
    """
    rows, distances_m = three_nearest(points, voxels, voxel_size_m)
    weights = (distances_m + 1e-8).reciprocal()
    weights = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    if not len(features):
        return features.new_zeros(len(points), features.shape[1]) + features.sum()
    return (weights[..., None].to(features.dtype) * features[rows]).sum(1)  # einsum takes three times as long


@torch.no_grad()
def three_nearest(
    points: Float[Tensor, "point 4"], voxels: Float[Tensor, "voxel 4"], voxel_size_m: Sequence[float]
) -> tuple[Int[Tensor, "point 3"], Float[Tensor, "point 3"]]:
    """Find the three nearest voxels of each point within its own scan.

    Args:
        points: Scan, x, y, z, in metres.
        voxels: Scan, x, y, z of the centre of each voxel, in metres, on one grid, each voxel once.
        voxel_size_m: Size of a voxel in x, y and z.

    Returns:
        Rows of ``voxels``, nearest first, and distances in metres. Where a scan has fewer than three voxels, the
        distances of the missing ones are infinite and their rows have no meaning.

    Raises:
        ValueError: ``points`` or ``voxels`` is not (N, 4).
    """
    for name, table in (("points", points), ("voxels", voxels)):
        if table.ndim != 2 or table.shape[1] != 4:
            raise ValueError(f"{name} must be (N, 4): scan, x, y, z; got shape {tuple(table.shape)}")
    if not len(points) or not len(voxels):
        rows = torch.zeros(len(points), 3, dtype=torch.int64, device=points.device)
        return rows, torch.full_like(rows, torch.inf, dtype=torch.float32)
    if devices.on_cpu(points):
        return _search_by_kernel(points, voxels)
    rows, distances_m = _search_neighbours(points, voxels, voxel_size_m)
    # The few points that may have a nearer voxel farther out.
    (rest,) = (distances_m[:, 2] >= _reach_m(voxel_size_m)).nonzero(as_tuple=True)
    rows[rest], distances_m[rest] = _search_everywhere(points[rest], voxels)
    return rows, distances_m


def _search_by_kernel(points: Tensor, voxels: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.zeros(len(points), 3, dtype=torch.int64)
    distances_m = torch.full((len(points), 3), torch.inf)
    for scan in points[:, 0].unique():
        here = (points[:, 0] == scan).nonzero().squeeze(1)
        there = (voxels[:, 0] == scan).nonzero().squeeze(1)
        there = there[np.lexsort((voxels[there, 2], voxels[there, 1]))]
        found, squared = three_nn.three_nearest(points[here, 1:].double().numpy(), voxels[there, 1:].double().numpy())
        if len(there):
            rows[here], distances_m[here] = there[torch.from_numpy(found)], torch.from_numpy(np.sqrt(squared)).float()
    return rows, distances_m


def _search_neighbours(
    points: Tensor, voxels: Tensor, voxel_size_m: Sequence[float]
) -> tuple[Int[Tensor, "point 3"], Float[Tensor, "point 3"]]:
    """Find the three nearest among the voxels around the point's own; the distances of missing ones are infinite.

    Where the third is nearer than :func:`_reach_m`, no other voxel of the scan is nearer.
    """
    number, order = _numbers(voxels, voxels[0], voxel_size_m).sort()
    x, y, z = (_steps(size, voxel_size_m, points.device) for size in voxel_size_m)
    around = ((x[:, None, None] << 2 * _BITS) + (y[:, None] << _BITS) + z).flatten()
    rows, distances_m = [], []
    for some in points.split(max(_PAIRS_AT_ONCE // len(around), 1)):
        wanted = _numbers(some, voxels[0], voxel_size_m)[:, None] + around
        place = torch.searchsorted(number, wanted).clamp_(max=len(voxels) - 1)
        found = order[place]
        squared = (voxels[found, 1:] - some[:, None, 1:]).square().sum(2)
        squared, best = squared.masked_fill(number[place] != wanted, torch.inf).topk(3, dim=1, largest=False)
        rows.append(found.gather(1, best))
        distances_m.append(squared.sqrt().float())
    return torch.cat(rows), torch.cat(distances_m)


def _numbers(points: Tensor, first: Tensor, voxel_size_m: Sequence[float]) -> Int[Tensor, " point"]:
    """Return a number for the scan and the voxel of each point; counted from the voxel centred at ``first``."""
    number = points[:, 0].long()
    for axis, size in enumerate(voxel_size_m, start=1):
        step = ((points[:, axis] - first[axis]) / size + 0.5).floor().long()
        number = (number << _BITS) + step + (1 << _BITS - 1)
    return number


def _steps(size_m: float, voxel_size_m: Sequence[float], device: torch.device) -> Int[Tensor, " step"]:
    """Steps along an axis to all voxels whose centres are within reach of any point of a voxel."""
    most = math.ceil(_reach_m(voxel_size_m) / size_m)
    return torch.arange(-most, most + 1, device=device)


def _reach_m(voxel_size_m: Sequence[float]) -> float:
    return _REACH_EDGES * min(voxel_size_m) * (1 - 1e-3)  # less what rounding may add


def _search_everywhere(points: Tensor, voxels: Tensor) -> tuple[Tensor, Tensor]:
    """Compare each point with each voxel."""
    rows, distances_m = [], []
    for some in points.split(max(_PAIRS_AT_ONCE // len(voxels), 1)):
        squared = torch.zeros(len(some), len(voxels), dtype=points.dtype, device=points.device)
        for axis in (1, 2, 3):
            gap = some[:, axis, None] - voxels[:, axis]
            squared.addcmul_(gap, gap)
        squared.masked_fill_(some[:, :1] != voxels[:, 0], torch.inf)
        squared = F.pad(squared, (0, max(3 - len(voxels), 0)), value=torch.inf)
        squared, best = squared.topk(3, dim=1, largest=False)
        rows.append(best.clamp_(max=len(voxels) - 1))
        distances_m.append(squared.sqrt().float())
    return torch.cat(rows), torch.cat(distances_m)
