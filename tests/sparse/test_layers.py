"""The layers of every backend against dense convolution: values and gradients, on the CPU and on a GPU."""

import dataclasses
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lidar_rank import sparse
from tests.sparse.conftest import load
from tests.sparse.scans import BATCH, SHAPE, gradients, scan, to_dense


@dataclasses.dataclass(frozen=True)
class Side:
    layers: ModuleType
    device: str


@pytest.fixture(params=["native", "spconv", pytest.param("cuda", marks=pytest.mark.gpu)])
def side(request: pytest.FixtureRequest) -> Side:
    if request.param == "cuda":
        return Side(sparse.backend(), "cuda")
    return Side(load(request.param), "cpu")


def dense_weight(conv: nn.Module) -> Tensor:
    """The layers keep (out, z, y, x, in); torch wants (out, in, z, y, x)."""
    return conv.weight.permute(0, 4, 1, 2, 3)


def transposed_weight(conv: nn.Module) -> Tensor:
    """torch's transposed convolution wants (in, out, z, y, x)."""
    return conv.weight.permute(4, 0, 1, 2, 3)


def ones_at(x: Any) -> Tensor:
    return to_dense(torch.ones_like(x.features[:, :1]), x.indices, x.spatial_shape)


def assert_same(got: Tensor, want: Tensor, inputs: list[Tensor]) -> None:
    """Values, which must not all be near zero, and gradients."""
    assert want.abs().max() > 0.05
    assert_close(got, want, rtol=1e-4, atol=2e-6)
    for a, b in zip(gradients(got, inputs), gradients(want, inputs), strict=True):
        assert_close(a, b, rtol=1e-4, atol=2e-5)


def voxels_on(side: Side, count: int) -> tuple[Tensor, Any]:
    features, indices = (tensor.to(side.device) for tensor in scan(count))
    features.requires_grad_()
    return features, side.layers.SparseConvTensor(features, indices, SHAPE, BATCH)


@pytest.mark.parametrize("voxels", [1, 40, 900])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 1, 5)},
        {"kernel_size": 3, "dilation": (1, 2, 3)},
    ],
    ids=str,
)
def test_submanifold_convolution(side, options, train, bias, voxels):
    torch.manual_seed(1)
    conv = side.layers.SubMConv3d(4, 6, bias=bias, **options).to(side.device).train(train)
    features, x = voxels_on(side, voxels)
    out = conv(x)
    padding = [size // 2 * step for size, step in zip(conv.kernel_size, conv.dilation, strict=True)]
    want = F.conv3d(
        to_dense(features, x.indices), dense_weight(conv), conv.bias, padding=padding, dilation=conv.dilation
    )
    assert torch.equal(out.indices, x.indices)
    assert_same(out.dense(), want * ones_at(x), [features, *conv.parameters()])


@pytest.mark.parametrize("voxels", [1, 40, 900])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": (0, 1, 1)},
        {"kernel_size": (3, 1, 1), "stride": (2, 1, 1)},
        {"kernel_size": 3, "padding": 2},
        {"kernel_size": (2, 4, 3), "stride": (2, 3, 1), "padding": (1, 2, 0), "dilation": (1, 2, 2)},
        {"kernel_size": 1, "stride": 2},
    ],
    ids=str,
)
def test_strided_convolution(side, options, bias, voxels):
    torch.manual_seed(1)
    conv = side.layers.SparseConv3d(4, 6, bias=bias, **options).to(side.device)
    features, x = voxels_on(side, voxels)
    dense = to_dense(features, x.indices)
    settings = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}
    reached = F.conv3d(ones_at(x), torch.ones(1, 1, *conv.kernel_size, device=side.device), **settings) > 0.5
    if not reached.any():
        pytest.skip("no output")  # spconv refuses that
    out = conv(x)
    assert out.spatial_shape == list(reached.shape[2:])
    assert torch.equal(ones_at(out) > 0, reached)
    want = F.conv3d(dense, dense_weight(conv), conv.bias, **settings) * reached
    assert_same(out.dense(), want, [features, *conv.parameters()])


@pytest.mark.parametrize("voxels", [1, 40])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "options", [{"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2, "stride": (2, 1, 2)}], ids=str
)
def test_transposed_convolution(side, options, bias, voxels):
    torch.manual_seed(1)
    conv = side.layers.SparseConvTranspose3d(4, 6, bias=bias, **options).to(side.device)
    features, x = voxels_on(side, voxels)
    settings = {"stride": conv.stride, "padding": conv.padding}
    reached = F.conv_transpose3d(ones_at(x), torch.ones(1, 1, *conv.kernel_size, device=side.device), **settings) > 0.5
    out = conv(x)
    assert out.spatial_shape == list(reached.shape[2:])
    assert torch.equal(ones_at(out) > 0, reached)
    dense = to_dense(features, x.indices)
    want = F.conv_transpose3d(dense, transposed_weight(conv), conv.bias, **settings) * reached
    assert_same(out.dense(), want, [features, *conv.parameters()])


@pytest.mark.parametrize("bias", [False, True])
def test_inverse_convolution_is_a_transposed_one_at_the_voxels_before(side, bias):
    torch.manual_seed(2)
    down = side.layers.SparseConv3d(4, 6, 3, stride=2, padding=1, bias=bias, indice_key="down").to(side.device)
    inner = side.layers.SubMConv3d(6, 6, 3, bias=False).to(side.device)
    up = side.layers.SparseInverseConv3d(6, 4, 3, indice_key="down", bias=bias).to(side.device)
    features, x = voxels_on(side, 200)
    middle = down(x)
    out = up(inner(middle))
    assert torch.equal(out.indices, x.indices)
    want = F.conv3d(to_dense(features, x.indices), dense_weight(down), down.bias, stride=2, padding=1) * ones_at(middle)
    want = F.conv3d(want, dense_weight(inner), padding=1) * ones_at(middle)
    # Odd sizes: a stride-2 transpose brings (n + 1) / 2 cells back to n without output padding.
    want = F.conv_transpose3d(want, transposed_weight(up), up.bias, stride=2, padding=1) * ones_at(x)
    assert_same(out.dense(), want, [features, *down.parameters(), *inner.parameters(), *up.parameters()])


@pytest.mark.parametrize("kind", ["SubMConv3d", "SparseConv3d"])
@pytest.mark.parametrize("bias", [False, True])
def test_kernel_of_one_cell_is_a_product_with_the_weight_as_it_lies_in_memory(side, kind, bias):
    conv = getattr(side.layers, kind)(4, 6, 1, bias=bias).to(side.device)
    features, x = voxels_on(side, 40)
    out = conv(x).features
    want = F.linear(features, conv.weight.reshape(4, 6).t(), conv.bias)
    assert_same(out, want, [features, *conv.parameters()])


@pytest.mark.parametrize("kind", ["SubMConv3d", "SparseConv3d"])
def test_batch_without_voxels_gives_zeros_and_keeps_the_graph(side, kind):
    conv = getattr(side.layers, kind)(4, 6, 3, padding=1, bias=False).to(side.device)
    _, x = voxels_on(side, 0)
    out = conv(x).dense()
    out.sum().backward()
    assert out.shape == (BATCH, 6, *SHAPE)
    assert out.abs().max() == 0
    assert conv.weight.grad.abs().max() == 0


def test_scan_without_voxels_in_a_batch(side):
    torch.manual_seed(3)
    conv = side.layers.SparseConv3d(4, 6, 3, stride=2, padding=1, bias=False).to(side.device)
    features, indices = (tensor.to(side.device) for tensor in scan(200))
    kept = indices[:, 0] != 1
    features, indices = features[kept].requires_grad_(), indices[kept]
    out = conv(side.layers.SparseConvTensor(features, indices, SHAPE, BATCH)).dense()
    want = F.conv3d(to_dense(features, indices), dense_weight(conv), stride=2, padding=1)
    assert out[1].abs().max() == 0
    assert_same(out, want, [features, conv.weight])


@pytest.mark.parametrize("voxels", [0, 1])
def test_norm_of_fewer_than_two_rows_uses_its_running_statistics(side, voxels):
    torch.manual_seed(3)
    norm = nn.BatchNorm1d(6)
    norm.running_mean.fill_(0.5)
    net = side.layers.SparseSequential(side.layers.SubMConv3d(4, 6, 3, padding=1, bias=False), norm, nn.ReLU())
    net = net.to(side.device).train()
    features, x = voxels_on(side, voxels)
    out = net(x).features
    want = F.relu((features @ net[0].weight[:, 1, 1, 1].T - 0.5) / (1 + norm.eps) ** 0.5)
    assert_close(out, want, rtol=1e-4, atol=1e-6)
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert_close(norm.running_mean.cpu(), torch.full((6,), 0.5))


def test_transposed_indices_give_the_same_result_as_contiguous_ones(side):
    conv = side.layers.SubMConv3d(4, 6, 3, padding=1, bias=False).to(side.device)
    features, indices = (tensor.to(side.device) for tensor in scan(200))
    transposed = indices.T.contiguous().T
    assert not transposed.is_contiguous()
    a = conv(side.layers.SparseConvTensor(features, transposed, SHAPE, BATCH)).dense()
    b = conv(side.layers.SparseConvTensor(features, indices, SHAPE, BATCH)).dense()
    assert_close(a, b, rtol=0, atol=0)


def test_sequence_takes_layers_by_place_by_name_and_as_one_dict(side):
    conv, norm = side.layers.SubMConv3d(4, 6, 3, bias=False), nn.BatchNorm1d(6)
    net = side.layers.SparseSequential(conv, norm=norm)
    assert [name for name, _ in net.named_children()] == ["0", "norm"]
    assert net[0] is conv
    assert net[-1] is norm
    assert len(net) == 2
    net.add_module("act", nn.ReLU())
    net = net.to(side.device)
    assert net(voxels_on(side, 40)[1]).features.min() == 0


def test_channels_last_grid(side):
    _, x = voxels_on(side, 40)
    assert torch.equal(x.dense(channels_first=False).permute(0, 4, 1, 2, 3), x.dense())
