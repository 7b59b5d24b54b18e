"""The sparse backbone against dense convolutions, and the shape of every stage of the published network."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lidar_rank.models.sassd import SparseBackbone

SHAPE, SCANS = [7, 12, 10], 2


def voxels(count: int, shape: list[int] = SHAPE, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(SCANS * shape[0] * shape[1] * shape[2], (2 * count,), generator=generator).unique()
    cells = cells[torch.randperm(len(cells), generator=generator)][:count]
    indices = torch.stack(torch.unravel_index(cells, (SCANS, *shape)), dim=1).int()
    return torch.randn(count, 4, generator=generator), indices


def to_dense(features: Tensor, indices: Tensor, shape: list[int]) -> Tensor:
    dense = features.new_zeros(SCANS, *shape, features.shape[1])
    return dense.index_put(tuple(indices.long().T), features).permute(0, 4, 1, 2, 3)


def normalised(x: Tensor, occupied: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Batch normalisation over occupied voxels, then ReLU, of a dense map."""
    rows = x.permute(0, 2, 3, 4, 1)[occupied[:, 0]]
    mean, variance = rows.mean(0), rows.var(0, unbiased=False)
    column = (1, -1, 1, 1, 1)
    out = (x - mean.view(column)) / (variance.view(column) + 1e-3).sqrt() * norm.weight.view(column)
    return (out + norm.bias.view(column)).relu() * occupied


def dense_weight(convolution: nn.Module) -> Tensor:
    """spconv keeps (out, z, y, x, in), but takes a kernel of one voxel as (in, out)."""
    weight = convolution.weight
    if weight.shape[1:4] == (1, 1, 1):
        inputs, outputs = convolution.in_channels, convolution.out_channels
        return weight.view(inputs, outputs).T[:, :, None, None, None]
    return weight.permute(0, 4, 1, 2, 3)


def dense_reference(net: SparseBackbone, features: Tensor, indices: Tensor) -> list[Tensor]:
    """The network in dense convolutions: every stage, then the last convolution, as (scan, channel, z, y, x)."""
    x = to_dense(features, indices, SHAPE)
    occupied = to_dense(torch.ones(len(indices), 1), indices, SHAPE).bool()
    maps = []
    for stage in [*net.stages, net.last]:
        for convolution, norm in zip(list(stage)[0::3], list(stage)[1::3], strict=True):
            stride = convolution.stride[0]
            x = F.conv3d(x, dense_weight(convolution), stride=stride, padding=convolution.padding[0])
            if stride == 2:
                occupied = F.max_pool3d(occupied.float(), 3, stride=2, padding=1).bool()
            x = normalised(x, occupied, norm)
        maps.append(x)
    return maps


def test_equals_dense_convolutions():
    torch.manual_seed(0)
    net = SparseBackbone(channels=(5, 6, 7), depths=(2, 1, 2), sparse_shape=SHAPE)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm1d):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    features, indices = voxels(300)
    bev, levels = net(features, indices, SCANS)
    *stages, last = dense_reference(net, features, indices)
    assert bev.shape == (SCANS, 7 * 2, 3, 3)
    assert bev.abs().max() > 0.1
    assert_close(bev.view(SCANS, 7, 2, 3, 3), last, rtol=1e-4, atol=1e-4)
    assert [level.stride for level in levels] == [2, 4]
    for level, want in zip(levels, stages[1:], strict=True):
        got = to_dense(level.features, level.indices, list(want.shape[2:]))
        assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_published_network_has_the_published_stages():
    net = SparseBackbone()
    kinds = {"SubMConv3d": "subm", "SparseConv3d": "down"}
    stages = [
        [
            (kinds[type(conv).__name__], conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride)
            for conv in list(stage)[0::3]
        ]
        for stage in net.stages
    ]
    three, one, two = [3, 3, 3], [1, 1, 1], [2, 2, 2]
    assert stages == [
        [("subm", 4, 16, three, one), ("subm", 16, 16, three, one)],
        [("down", 16, 32, three, two), *[("subm", 32, 32, three, one)] * 2],
        [("down", 32, 64, three, two), *[("subm", 64, 64, three, one)] * 3],
        [("down", 64, 64, three, two), *[("subm", 64, 64, three, one)] * 3],
    ]
    assert [(conv.in_channels, conv.out_channels, conv.kernel_size) for conv in list(net.last)[0::3]] == [(64, 64, one)]
    assert all(conv.bias is None for stage in [*net.stages, net.last] for conv in list(stage)[0::3])
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm1d)]
    assert len(norms) == 2 + 3 + 4 + 4 + 1
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


def test_published_network_gives_the_published_shapes():
    net = SparseBackbone().eval()
    features, indices = voxels(500, [40, 1600, 1408])
    with torch.no_grad():
        bev, levels = net(features, indices, SCANS)
    assert bev.shape == (SCANS, 64 * 5, 200, 176)
    assert [(level.features.shape[1], level.stride) for level in levels] == [(32, 2), (64, 4), (64, 8)]
    for level in levels:
        shape = [40 // level.stride, 1600 // level.stride, 1408 // level.stride]
        assert (level.indices[:, 1:] < torch.tensor(shape)).all()
        assert set(level.indices[:, 0].tolist()) == {0, 1}


def test_autocast_leaves_it_in_full_precision():
    net = SparseBackbone(channels=(5, 6), depths=(1, 1), sparse_shape=SHAPE).eval()
    features, indices = voxels(100)
    want, _ = net(features, indices, SCANS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, _ = net(features.bfloat16().float(), indices, SCANS)
        assert got.dtype == torch.float32
        exact, _ = net(features, indices, SCANS)
    assert_close(exact, want)


def test_a_batch_without_voxels_gives_an_empty_map_with_a_graph():
    net = SparseBackbone(channels=(5, 6), depths=(1, 1), sparse_shape=SHAPE)
    bev, levels = net(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int32), SCANS)
    assert bev.shape == (SCANS, 6 * 4, 6, 5)
    assert bev.abs().sum() == 0
    assert len(levels[0].features) == 0
    bev.sum().backward()
    assert all(module.running_var.eq(1).all() for module in net.modules() if isinstance(module, nn.BatchNorm1d))


def test_wrong_width_or_stages_are_named():
    net = SparseBackbone(channels=(5,), depths=(1,), sparse_shape=SHAPE)
    with pytest.raises(ValueError, match=r"features must be \(voxel, 4\), got shape \(3, 5\)"):
        net(torch.zeros(3, 5), torch.zeros(3, 4, dtype=torch.int32), 1)
    with pytest.raises(ValueError, match="one entry per stage"):
        SparseBackbone(channels=(5, 6), depths=(1,))
