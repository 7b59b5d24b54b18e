"""Interpolation of voxel features at points."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lidar_rank.kernels import three_nn

_POINTS_AT_ONCE = 4096  # keeps the distance matrix on a GPU below some hundred megabytes


def interpolate(
    points: Float[Tensor, "point 4"], voxels: Float[Tensor, "voxel 4"], features: Float[Tensor, "voxel channel"]
) -> Float[Tensor, "point channel"]:
    """Mean of the features of the three nearest voxels of the same scan, weighted by inverse distance.

    Source: Qi et al., "PointNet++", NIPS 2017, eq. 2, with three neighbours and the first power of the distance.

    Args:
        points: Scan, x, y, z, in metres.
        voxels: Scan, x, y, z of the centre of each voxel, in metres.
        features: One row per voxel; gradients flow to them, but not to the positions.

    Returns:
        One row per point: the mean over all voxels of a scan that has fewer than three, zero where it has none.
    """
    rows, distances_m = three_nearest(points, voxels)
    weights = (distances_m + 1e-8).reciprocal()
    weights = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    if not len(features):
        return features.new_zeros(len(points), features.shape[1]) + features.sum()
    return torch.einsum("pk,pkc->pc", weights.to(features.dtype), features[rows])


@torch.no_grad()
def three_nearest(
    points: Float[Tensor, "point 4"], references: Float[Tensor, "reference 4"]
) -> tuple[Int[Tensor, "point 3"], Float[Tensor, "point 3"]]:
    """Find the three nearest references of each point within its own scan.

    Args:
        points: Scan, x, y, z, in metres.
        references: The same columns.

    Returns:
        Rows of ``references``, nearest first, and distances in metres. Where a scan has fewer than three references,
        the distances of the missing ones are infinite and their rows have no meaning.

    Raises:
        ValueError: ``points`` or ``references`` is not (N, 4).
    """
    for name, table in (("points", points), ("references", references)):
        if table.ndim != 2 or table.shape[1] != 4:
            raise ValueError(f"{name} must be (N, 4): scan, x, y, z; got shape {tuple(table.shape)}")
    rows = torch.zeros(len(points), 3, dtype=torch.int64, device=points.device)
    distances_m = torch.full((len(points), 3), torch.inf, dtype=torch.float32, device=points.device)
    search = _search_on_cpu if points.device.type == "cpu" else _search_on_device
    for scan in points[:, 0].unique():
        here = (points[:, 0] == scan).nonzero().squeeze(1)
        there = (references[:, 0] == scan).nonzero().squeeze(1)
        if len(there):
            found, distances_m[here] = search(points[here, 1:], references[there, 1:])
            rows[here] = there[found]
    return rows, distances_m


def _search_on_cpu(points: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    by_x = references[:, 0].argsort()
    rows, squared = three_nn.three_nearest(points.double().numpy(), references[by_x].double().numpy())
    return by_x[torch.from_numpy(rows)], torch.from_numpy(np.sqrt(squared)).float()


def _search_on_device(points: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    found = []
    for some in points.split(_POINTS_AT_ONCE):
        # The matrix product that cdist uses by default is not exact enough to order neighbours.
        distances = torch.cdist(some, references, compute_mode="donot_use_mm_for_euclid_dist")
        found.append(distances.topk(min(3, len(references)), largest=False))
    missing = (0, 3 - min(3, len(references)))
    rows, distances = torch.cat([top.indices for top in found]), torch.cat([top.values for top in found])
    return torch.nn.functional.pad(rows, missing), torch.nn.functional.pad(distances, missing, value=torch.inf)
