"""The sparse 3D backbone of SA-SSD."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lidar_rank import sparse


class VoxelLevel(NamedTuple):
    """Occupied voxels of a batch at one resolution."""

    features: Float[Tensor, "voxel channel"]
    indices: Int[Tensor, "voxel 4"]
    """Scan, z, y, x."""
    stride: int
    """Edge of a voxel here, in voxels of the input."""


class SparseBackbone(nn.Module):
    """Stages of submanifold convolutions; each stage after the first has half the resolution of the one before.

    Every convolution is without bias and followed by batch normalisation and ReLU. The output is a map seen from above,
    in which height and channel are one dimension.

    Source: He et al., "Structure Aware Single-stage 3D Object Detection from Point Cloud", CVPR 2020.

    Args:
        in_channels: Features of a voxel.
        channels: Width of each stage.
        depths: Submanifold convolutions of each stage.
        sparse_shape: Voxels of the input grid in z, y and x.
        norm_momentum: Of batch normalisation; with 0.01 the statistics lag hundreds of steps behind the weights, which
            is too much for a short training.

    Raises:
        ValueError: ``channels`` and ``depths`` have different lengths.
    """

    def __init__(
        self,
        in_channels: int = 4,
        channels: Sequence[int] = (16, 32, 64, 64),
        depths: Sequence[int] = (2, 2, 3, 3),
        sparse_shape: Sequence[int] = (40, 1600, 1408),
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        if len(channels) != len(depths):
            raise ValueError(f"channels and depths must have one entry per stage, got {channels=} and {depths=}")
        self.in_channels, self.sparse_shape = in_channels, list(sparse_shape)
        spconv = sparse.backend()
        self.stages = nn.ModuleList()
        before = in_channels
        for stage, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            layers = []
            if stage:
                layers.append(spconv.SparseConv3d(before, width, 3, stride=2, padding=1, bias=False))
                before = width
            for _ in range(depth):
                key = f"stage{stage}"
                layers.append(spconv.SubMConv3d(before, width, 3, padding=1, bias=False, indice_key=key))
                before = width
            self.stages.append(_normalised(layers, norm_momentum))
        self.last = _normalised([spconv.SparseConv3d(channels[-1], channels[-1], 1, bias=False)], norm_momentum)

    def forward(
        self, features: Float[Tensor, "voxel channel"], indices: Int[Tensor, "voxel 4"], scans: int
    ) -> tuple[Float[Tensor, "scan channel_height y x"], list[VoxelLevel]]:
        """Encode the voxels of a batch.

        Args:
            features: One row per voxel.
            indices: Scan, z, y, x of each voxel.
            scans: Number of scans in the batch.

        Returns:
            The map seen from above, in float32 also under autocast, and the voxels of each stage after the first.

        Raises:
            ValueError: the width of the features is not that of the first convolution.
        """
        if features.ndim != 2 or features.shape[1] != self.in_channels:
            raise ValueError(f"features must be (voxel, {self.in_channels}), got shape {tuple(features.shape)}")
        levels = []
        with torch.autocast(features.device.type, enabled=False):
            x = sparse.backend().SparseConvTensor(features.float(), indices.int(), self.sparse_shape, scans)
            for stage, layers in enumerate(self.stages):
                x = layers(x)
                if stage:
                    levels.append(VoxelLevel(x.features, x.indices, 2**stage))
            return self.last(x).dense().flatten(1, 2), levels


def _normalised(convolutions: list[Any], momentum: float) -> nn.Module:
    layers = []
    for convolution in convolutions:
        norm = nn.BatchNorm1d(convolution.out_channels, eps=1e-3, momentum=momentum)
        layers += [convolution, norm, nn.ReLU(inplace=True)]
    sequence: nn.Module = sparse.backend().SparseSequential(*layers)
    return sequence
