"""Sparse convolution against dense convolution: values and gradients."""

import copy
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lidar_rank import sparse
from lidar_rank.sparse import backends

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SHAPE = [5, 9, 11]  # odd, and different on every axis
BATCH = 3


def scan(voxels: int, device: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random distinct voxels of a batch: features (voxel, 4) and indices (voxel, 4) = batch, z, y, x."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(BATCH * SHAPE[0] * SHAPE[1] * SHAPE[2], generator=generator)[:voxels]
    indices = torch.stack(torch.unravel_index(cells, (BATCH, *SHAPE)), dim=1).int()
    return torch.randn(voxels, 4, generator=generator).to(device), indices.to(device)


def to_dense(features: Tensor, indices: Tensor) -> Tensor:
    """(batch, channel, z, y, x), zero where there is no voxel."""
    dense = features.new_zeros(BATCH, *SHAPE, features.shape[1])
    dense = dense.index_put(tuple(indices.long().T), features)
    return dense.permute(0, 4, 1, 2, 3)


def dense_weight(conv: nn.Module) -> Tensor:
    """spconv keeps (out, z, y, x, in); torch wants (out, in, z, y, x)."""
    return conv.weight.permute(0, 4, 1, 2, 3)


def expected_subm(features: Tensor, indices: Tensor, conv: nn.Module) -> Tensor:
    out = F.conv3d(to_dense(features, indices), dense_weight(conv), padding=1)
    return out * to_dense(torch.ones_like(features[:, :1]), indices)


def expected_strided(features: Tensor, indices: Tensor, conv: nn.Module) -> Tensor:
    return F.conv3d(to_dense(features, indices), dense_weight(conv), stride=2, padding=1)


def gradients(out: Tensor, features: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    probe = torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out)
    return torch.autograd.grad((out * probe).sum(), [features, weight])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("voxels", [1, 40, 900])
@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [("SubMConv3d", {"padding": 1}, expected_subm), ("SparseConv3d", {"stride": 2, "padding": 1}, expected_strided)],
)
def test_equals_dense_convolution(kind, options, expected, voxels, device):
    torch.manual_seed(1)
    conv = getattr(sparse, kind)(4, 6, 3, bias=False, **options).to(device)
    features, indices = scan(voxels, device)
    features.requires_grad_()
    got = conv(sparse.SparseConvTensor(features, indices, SHAPE, BATCH)).dense()
    want = expected(features, indices, conv)
    assert want.abs().max() > 0.05
    assert_close(got, want, rtol=1e-4, atol=2e-6)
    for a, b in zip(gradients(got, features, conv.weight), gradients(want, features, conv.weight), strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_inverse_convolution_equals_transposed_dense_one_at_the_input_voxels(device):
    torch.manual_seed(2)
    features, indices = scan(200, device)
    features.requires_grad_()
    down = sparse.SparseConv3d(4, 6, 3, stride=2, padding=1, bias=False, indice_key="down").to(device)
    up = sparse.SparseInverseConv3d(6, 4, 3, bias=False, indice_key="down").to(device)
    got = up(down(sparse.SparseConvTensor(features, indices, SHAPE, BATCH))).dense()
    # Odd sizes: a stride-2 transpose brings (n + 1) / 2 cells back to n without output padding.
    middle = expected_strided(features, indices, down)
    # torch's transposed convolution wants (in, out, z, y, x).
    want = F.conv_transpose3d(middle, up.weight.permute(4, 0, 1, 2, 3), stride=2, padding=1)
    want = want * to_dense(torch.ones_like(features[:, :1]), indices)
    assert want.abs().max() > 0.05
    assert_close(got, want, rtol=1e-4, atol=2e-6)
    for a, b in zip(gradients(got, features, down.weight), gradients(want, features, down.weight), strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["SubMConv3d", "SparseConv3d"])
def test_scan_without_voxels_gives_zeros_and_keeps_the_graph(kind):
    conv = getattr(sparse, kind)(4, 6, 3, padding=1, bias=False)
    features, indices = scan(0, "cpu")
    out = conv(sparse.SparseConvTensor(features.requires_grad_(), indices, SHAPE, BATCH)).dense()
    out.sum().backward()
    assert out.shape == (BATCH, 6, *SHAPE)
    assert out.abs().max() == 0
    assert conv.weight.grad.abs().max() == 0


def test_transposed_indices_give_the_same_result_as_contiguous_ones():
    conv = sparse.SubMConv3d(4, 6, 3, padding=1, bias=False)
    features, indices = scan(200, "cpu")
    transposed = indices.T.contiguous().T
    assert not transposed.is_contiguous()
    a = conv(sparse.SparseConvTensor(features, transposed, SHAPE, BATCH)).dense()
    b = conv(sparse.SparseConvTensor(features, indices, SHAPE, BATCH)).dense()
    assert_close(a, b, rtol=0, atol=0)


def test_asking_for_a_stream_without_cuda_is_harmless(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert sparse.backend().ops.get_current_stream() == 0


def test_repair_is_applied_once():
    module = sparse.backend()
    before = module.SparseConvTensor.__init__
    backends.repair_spconv(module)
    assert module.SparseConvTensor.__init__ is before


def test_layer_survives_copy_and_keeps_its_algorithm():
    conv = sparse.SubMConv3d(4, 6, 3, padding=1)
    algorithm = conv.algo
    features, indices = scan(20, "cpu")
    copy.deepcopy(conv)(sparse.SparseConvTensor(features, indices, SHAPE, BATCH))
    conv(sparse.SparseConvTensor(features, indices, SHAPE, BATCH))
    assert conv.algo == algorithm


def hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name in hidden else object())
    backends.backend.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_choice():
    yield
    backends.backend.cache_clear()


def test_no_backend_says_what_to_install(monkeypatch):
    hide(monkeypatch, "spconv", "spconv_triton")
    with pytest.raises(ImportError, match="pip install spconv-cu120"):
        backends.backend()


def test_triton_without_a_gpu_says_what_to_install(monkeypatch):
    hide(monkeypatch, "spconv")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ImportError, match="GPU only"):
        backends.backend()


def test_triton_is_taken_on_a_gpu_where_spconv_is_missing(monkeypatch):
    hide(monkeypatch, "spconv")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    stand_in = type(sys)("spconv_triton.pytorch")
    monkeypatch.setitem(sys.modules, "spconv_triton", type(sys)("spconv_triton"))
    monkeypatch.setitem(sys.modules, "spconv_triton.pytorch", stand_in)
    assert backends.backend() is stand_in


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchLayer"):
        _ = sparse.NoSuchLayer


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("voxels", [0, 1])
def test_a_norm_of_fewer_than_two_rows_uses_its_running_statistics(voxels, device):
    torch.manual_seed(3)
    norm = nn.BatchNorm1d(6)
    norm.running_mean.fill_(0.5)
    net = sparse.SparseSequential(sparse.SubMConv3d(4, 6, 3, padding=1, bias=False), norm, nn.ReLU()).to(device).train()
    features, indices = scan(voxels, device)
    out = net(sparse.SparseConvTensor(features, indices, SHAPE, BATCH)).features
    want = F.relu((features @ net[0].weight[:, 1, 1, 1].T - 0.5) / (1 + norm.eps) ** 0.5)
    assert_close(out, want, rtol=1e-4, atol=1e-6)
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert_close(norm.running_mean.cpu(), torch.full((6,), 0.5))
