"""Features of the active sites of a batch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lidar_rank.shapes import Float, Int
from lidar_rank.sparse.native.operations import to_grid
from lidar_rank.sparse.native.rulebook import ActiveSites, Rulebook


class StridedStep(NamedTuple):
    """A strided convolution that has run, for the inverse convolution to undo."""

    rulebook: Rulebook
    inputs: ActiveSites
    outputs: ActiveSites
    kernel_size: list[int]


class SparseConvTensor:
    """Features of the voxels of a batch; all other cells are zero.

    Args:
        features: One row per voxel.
        indices: Scan, z, y, x of each voxel; int32, in any order, each cell once.
        spatial_shape: Cells of the grid in z, y and x.
        batch_size: Number of scans, some of which may have no voxel.
        grid: Ignored, as is the next; both keep the order of spconv's arguments.
        voxel_num: Ignored.
        indice_dict: Strided convolutions that have run, by their ``indice_key``.

    Raises:
        ValueError: shapes do not fit together, a tensor is not on the CPU, a voxel lies outside of the grid or the
            batch, or two voxels lie in one cell.
        TypeError: the indices are not int32.
    """

    def __init__(
        self,
        features: Float[Tensor, "voxel channel"],
        indices: Int[Tensor, "voxel 4"],
        spatial_shape: Sequence[int],
        batch_size: int,
        grid: Any = None,  # noqa: ARG002
        voxel_num: Any = None,  # noqa: ARG002
        indice_dict: dict[str, StridedStep] | None = None,
    ) -> None:
        if indices.ndim != 2 or indices.shape[1] != 4 or len(spatial_shape) != 3:
            raise ValueError(
                "indices must be (voxel, 4), the columns scan, z, y and x, and spatial_shape three sizes, got"
                f" {tuple(indices.shape)} and {list(spatial_shape)}; the native backend has 3D convolutions only"
            )
        if indices.dtype != torch.int32:
            raise TypeError(f"indices must be int32, got {indices.dtype}: call .int() on them")
        _check_on_cpu(indices)
        shape = [int(size) for size in spatial_shape]
        self._sites = ActiveSites(indices.contiguous(), shape, int(batch_size))
        self._features = _checked(features, self._sites)
        self.indice_dict: dict[str, StridedStep] = {} if indice_dict is None else indice_dict

    @classmethod
    def on_sites(cls, features: Tensor, sites: ActiveSites, indice_dict: dict[str, StridedStep]) -> "SparseConvTensor":
        """A tensor on sites that have been checked before."""
        tensor = cls.__new__(cls)
        tensor._sites, tensor._features, tensor.indice_dict = sites, _checked(features, sites), indice_dict
        return tensor

    @property
    def features(self) -> Float[Tensor, "voxel channel"]:
        """One row per voxel; :meth:`replace_feature` gives a tensor with others."""
        return self._features

    @property
    def indices(self) -> Int[Tensor, "voxel 4"]:
        """Scan, z, y, x of each voxel, int32."""
        return self._sites.indices

    @property
    def sites(self) -> ActiveSites:
        """The voxels with their rulebooks."""
        return self._sites

    @property
    def spatial_shape(self) -> list[int]:
        """Cells of the grid in z, y and x."""
        return self._sites.shape.copy()

    @property
    def batch_size(self) -> int:
        """Number of scans."""
        return self._sites.batch_size

    def replace_feature(self, feature: Float[Tensor, "voxel channel"]) -> "SparseConvTensor":
        """The same voxels with other features."""
        return self.on_sites(feature, self._sites, self.indice_dict)

    def dense(self, channels_first: bool = True) -> Tensor:
        """All cells, zero where there is no voxel: (scan, channel, z, y, x), or (scan, z, y, x, channel)."""
        dtype = torch.promote_types(self._features.dtype, torch.float32)
        grid = to_grid(self._features.to(dtype), self._sites).to(self._features.dtype)
        return grid if channels_first else grid.permute(0, 2, 3, 4, 1).contiguous()

    def __repr__(self) -> str:
        return (
            f"SparseConvTensor(features={tuple(self._features.shape)}, spatial_shape={self.spatial_shape},"
            f" batch_size={self.batch_size})"
        )


def _checked(features: Tensor, sites: ActiveSites) -> Tensor:
    if features.ndim != 2 or len(features) != len(sites.indices):
        raise ValueError(
            f"features must have one row for each of {len(sites.indices)} voxels, got shape {tuple(features.shape)}"
        )
    _check_on_cpu(features)
    return features


def _check_on_cpu(tensor: Tensor) -> None:
    if tensor.device.type != "cpu":
        raise ValueError(
            f"the native sparse convolution runs on the CPU, got a tensor on {tensor.device}: move it there, or"
            " pip install spconv-cu120==2.3.6 (Python <= 3.11) or spconv-triton, and set LIDAR_RANK_SPARSE=spconv or"
            " spconv_triton if it is set"
        )
