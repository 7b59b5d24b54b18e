"""Voxels for tests, and their dense counterpart."""

import numpy as np
import torch
from torch import Tensor

SHAPE = [5, 9, 11]  # odd, and different on every axis
BATCH = 3


def scan(voxels: int, seed: int = 0, shape: list[int] = SHAPE, channels: int = 4) -> tuple[Tensor, Tensor]:
    """Random distinct voxels of a batch: features (voxel, channel) and indices (voxel, 4), scan, z, y, x."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(BATCH * int(np.prod(shape)), generator=generator)[:voxels]
    indices = torch.stack(torch.unravel_index(cells, (BATCH, *shape)), dim=1).int()
    return torch.randn(voxels, channels, generator=generator), indices


def to_dense(features: Tensor, indices: Tensor, shape: list[int] = SHAPE) -> Tensor:
    """(scan, channel, z, y, x), zero where there is no voxel."""
    dense = features.new_zeros(BATCH, *shape, features.shape[1])
    dense = dense.index_put(tuple(indices.long().T), features)
    return dense.permute(0, 4, 1, 2, 3)


def gradients(out: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of a sum of all outputs, each with its own weight."""
    probe = torch.linspace(-1, 1, out.numel(), device=out.device, dtype=out.dtype).view_as(out)
    return torch.autograd.grad((out * probe).sum(), inputs)
