"""The host's sparse encoder on the backend that lidar_rank chooses."""

import pytest
import torch
from mmdet3d.registry import MODELS
from torch.nn import functional as F

from lidar_rank import sparse

GRID = (21, 48, 48)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"encoder_channels": ((16,), (32, 32), (32, 32)), "encoder_paddings": ((1,), (1, 1), (1, 1))}, 12),
        (
            {
                "encoder_channels": ((16, 16, 32), (32, 32)),
                "encoder_paddings": ((1, 1, 1), (1, 1)),
                "block_type": "basicblock",
            },
            24,
        ),
    ],
    ids=["plain", "residual"],
)
def test_encoder_has_the_layers_of_the_backend_and_trains(options, size):
    config = {"type": "SparseEncoder", "in_channels": 4, "sparse_shape": GRID, "output_channels": 32}
    net = MODELS.build({**config, **options})
    layers = [m for m in net.modules() if isinstance(m, (sparse.SubMConv3d, sparse.SparseConv3d))]
    assert len(layers) >= 6
    cells = torch.randperm(GRID[0] * GRID[1] * GRID[2], generator=torch.Generator().manual_seed(0))[:3000]
    indices = F.pad(torch.stack(torch.unravel_index(cells, GRID), 1), (1, 0))
    out = net(torch.randn(3000, 4), indices, 1)
    out.square().sum().backward()
    assert out.shape[2:] == (size, size)
    assert all(parameter.grad.abs().max() > 0 for parameter in net.parameters())


def test_decoder_of_a_u_net_comes_back_to_the_voxels():
    grid = (41, 24, 24)
    net = MODELS.build({"type": "SparseUNet", "in_channels": 4, "sparse_shape": grid})
    cells = torch.randperm(grid[0] * grid[1] * grid[2], generator=torch.Generator().manual_seed(0))[:500]
    indices = F.pad(torch.stack(torch.unravel_index(cells, grid), 1), (1, 0))
    out = net(torch.randn(500, 4), indices, 1)
    assert out["seg_features"].shape == (500, 16)
    (out["seg_features"].square().sum() + out["spatial_features"].square().sum()).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in net.parameters())
