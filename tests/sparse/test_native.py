"""lidar_rank's own backend: against spconv, in double precision, on any geometry, and with bad input."""

import copy
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lidar_rank.kernels import sparse_pairs
from lidar_rank.sparse import native
from tests.sparse.scans import BATCH, SHAPE, scan, to_dense


def test_double_precision_gradients():
    features, indices = scan(30)
    double = features.double().requires_grad_()
    torch.manual_seed(0)
    down = native.SparseConv3d(4, 5, 3, stride=2, padding=1, indice_key="down").double()
    inner, up = native.SubMConv3d(5, 3, 3).double(), native.SparseInverseConv3d(3, 2, 3, "down").double()
    weights = [*down.parameters(), *inner.parameters(), *up.parameters()]

    def net(features: Tensor, *_: Tensor) -> Tensor:
        return up(inner(down(native.SparseConvTensor(features, indices, SHAPE, BATCH)))).dense()

    assert torch.autograd.gradcheck(net, (double, *weights), fast_mode=True)


@pytest.mark.parametrize("seed", range(40))
def test_any_geometry_equals_dense_convolution(seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    shape = rng.integers(3, 9, 3).tolist()
    kernel, stride, dilation, padding = (
        rng.integers(low, high, 3).tolist() for low, high in ((1, 5), (1, 4), (1, 3), (0, 3))
    )
    features, indices = scan(
        int(rng.integers(1, BATCH * np.prod(shape))), seed, shape, channels=int(rng.integers(1, 40))
    )
    out_channels = int(rng.integers(1, 40))
    x = native.SparseConvTensor(features.double(), indices, shape, BATCH)
    dense = to_dense(features.double(), indices, shape)
    cells = to_dense(torch.ones(len(features), 1).double(), indices, shape)
    settings: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    makers = {"SparseConv3d": F.conv3d, "SparseConvTranspose3d": F.conv_transpose3d}
    for kind, function in makers.items():
        layer = getattr(native, kind)(features.shape[1], out_channels, kernel, **settings).double()
        try:
            out = layer(x)
        except ValueError:
            with pytest.raises(RuntimeError):
                function(cells, torch.ones(1, 1, *kernel).double(), **settings)
            continue
        axes = (0, 4, 1, 2, 3) if kind == "SparseConv3d" else (4, 0, 1, 2, 3)
        if layer.weight[0, ..., 0].numel() == 1 and stride == [1, 1, 1] and padding == [0, 0, 0]:
            continue  # another layout, see test_layers.py
        want = function(dense, layer.weight.permute(*axes), layer.bias, **settings)
        reached = function(cells, torch.ones(1, 1, *kernel).double(), **settings) > 0.5
        assert_close(out.dense(), want * reached)
        assert torch.equal(to_dense_cells(out), reached)


def to_dense_cells(x: Any) -> Tensor:
    return to_dense(torch.ones(len(x.indices), 1), x.indices, x.spatial_shape) > 0


def test_submanifold_kernel_of_even_size():
    """The centre is the cell at half the size, as in spconv: one more cell before it than after."""
    conv = native.SubMConv3d(4, 6, (2, 4, 3), bias=False)
    features, indices = scan(400)
    out = conv(native.SparseConvTensor(features, indices, SHAPE, BATCH)).dense()
    padded = F.pad(to_dense(features, indices), (1, 1, 2, 1, 1, 0))
    want = F.conv3d(padded, conv.weight.permute(0, 4, 1, 2, 3)) * to_dense(torch.ones(400, 1), indices)
    assert_close(out, want, rtol=1e-4, atol=2e-6)


def small_encoder(side: ModuleType) -> nn.Module:
    """The convolutions of the small SECOND, with a skip, a bias and a transposed convolution on top."""

    def block(convolution: nn.Module) -> list[nn.Module]:
        return [convolution, nn.BatchNorm1d(convolution.out_channels, eps=1e-3, momentum=0.1), nn.ReLU()]

    return side.SparseSequential(
        *block(side.SubMConv3d(4, 16, 3, padding=1, bias=False, indice_key="subm1")),
        *block(side.SubMConv3d(16, 16, 3, padding=1, bias=False, indice_key="subm1")),
        *block(side.SparseConv3d(16, 32, 3, stride=2, padding=1, bias=False, indice_key="down2")),
        *block(side.SubMConv3d(32, 32, 3, padding=1, bias=True, indice_key="subm2")),
        *block(side.SparseConv3d(32, 32, 3, stride=2, padding=1, bias=False, indice_key="down3")),
        *block(side.SubMConv3d(32, 32, 3, padding=1, bias=False, indice_key="subm3")),
        *block(side.SparseInverseConv3d(32, 24, 3, indice_key="down3")),
        *block(side.SubMConv3d(24, 16, 1)),
        *block(side.SparseConv3d(16, 32, (3, 1, 1), stride=(2, 1, 1), bias=False, indice_key="out")),
    )


def same_weights(one: nn.Module, other: nn.Module) -> None:
    buffer = io.BytesIO()
    torch.save(one.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True), strict=True)


def test_same_seed_gives_the_weights_of_spconv(spconv):
    states = []
    for side in (native, spconv):
        torch.manual_seed(5)
        states.append(small_encoder(side).state_dict())
    assert list(states[0]) == list(states[1])
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize("from_native", [False, True])
def test_checkpoints_of_both_backends_give_the_same_outputs(spconv, from_native):
    sides = (native, spconv) if from_native else (spconv, native)
    torch.manual_seed(6)
    nets = [small_encoder(side) for side in sides]
    same_weights(*nets)
    shape = [11, 16, 18]
    features, indices = scan(1500, shape=shape)
    outs = [
        net.eval()(side.SparseConvTensor(features, indices, shape, BATCH)).dense()
        for side, net in zip(sides, nets, strict=True)
    ]
    assert outs[0].abs().max() > 0.05
    assert_close(*outs, rtol=1e-4, atol=1e-5)


def train(side: ModuleType, scans: Sequence[tuple[Tensor, Tensor]], shape: list[int], batch: int) -> list[Tensor]:
    """Ten steps towards a wave, in double precision, where rounding does not grow; the losses, then the weights."""
    torch.manual_seed(7)
    net = small_encoder(side).double().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for step in range(10):
        features, indices = scans[step % len(scans)]
        out = net(side.SparseConvTensor(features.double(), indices, shape, batch)).dense()
        target = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out).sin()
        loss = (out - target).square().mean() * 10
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    assert losses[-1] < losses[0]
    return [torch.stack(losses), *(value for value in net.state_dict().values() if value.is_floating_point())]


def test_training_ends_with_the_weights_of_spconv(spconv):
    shape = [11, 16, 18]
    scans = [scan(1500, seed, shape) for seed in (0, 1)]
    ours, theirs = (train(side, scans, shape, BATCH) for side in (native, spconv))
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.real
def test_training_on_real_scans_ends_with_the_weights_of_spconv(spconv, kitti_root):
    shape = [21, 192, 192]
    scans = [voxels(path, shape) for path in sorted((kitti_root / "training" / "velodyne").glob("*.bin"))[:2]]
    assert all(len(features) > 5000 for features, _ in scans)
    ours, theirs = (train(side, scans, shape, 1) for side in (native, spconv))
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-11)


def voxels(path: Path, shape: list[int]) -> tuple[Tensor, Tensor]:
    """First point of every voxel of 0.2 m of a real scan, in the order of the points."""
    points = np.fromfile(path, dtype=np.float32).reshape(-1, 4)
    cells = np.floor((points[:, 2::-1] - [-3, -19.2, 0]) / 0.2).astype(np.int32)
    points, cells = (a[((cells >= 0) & (cells < shape)).all(1)] for a in (points, cells))
    first = np.sort(np.unique(cells, axis=0, return_index=True)[1])
    return torch.tensor(points[first] / 20), F.pad(torch.tensor(cells[first]), (1, 0))


def test_voxels_far_apart_in_a_grid_beyond_int32_and_float64():
    """2^60 cells a scan, more than float64 counts one by one."""
    shape = [2**20] * 3
    features, indices = scan(300)
    far = indices.clone()
    far[:, 1:] += torch.tensor(shape, dtype=torch.int32) - torch.tensor(SHAPE, dtype=torch.int32)
    for kind, options in (("SubMConv3d", {}), ("SparseConv3d", {"stride": 2, "padding": 1})):
        conv = getattr(native, kind)(4, 6, 3, **options)
        near_out = conv(native.SparseConvTensor(features, indices, [n + n % 2 for n in SHAPE], BATCH))
        far_out = conv(native.SparseConvTensor(features, far, shape, BATCH))
        if kind == "SubMConv3d":
            assert_close(far_out.features, near_out.features, rtol=0, atol=0)
        assert (far_out.indices[:, 1:] >= 2**19 - 16).all()


def test_scan_far_back_in_a_large_batch():
    features, indices = scan(300)
    late = indices.clone()
    late[:, 0] += 2**31 - 1 - BATCH
    conv = native.SparseConv3d(4, 6, 3, stride=2, padding=1)
    out = conv(native.SparseConvTensor(features, indices, SHAPE, BATCH))
    late_out = conv(native.SparseConvTensor(features, late, SHAPE, 2**31 - 1))
    assert_close(late_out.features, out.features, rtol=0, atol=0)
    assert torch.equal(late_out.indices[:, 0] - (2**31 - 1 - BATCH), out.indices[:, 0])
    assert torch.equal(late_out.indices[:, 1:], out.indices[:, 1:])


def test_rulebook_is_built_once_for_layers_on_the_same_voxels(monkeypatch):
    built = []
    original = sparse_pairs.submanifold_pairs
    monkeypatch.setattr(sparse_pairs, "submanifold_pairs", lambda *args: built.append(1) or original(*args))
    features, indices = scan(200)
    net = native.SparseSequential(
        native.SubMConv3d(4, 6, 3, indice_key="subm"),
        nn.ReLU(),
        native.SubMConv3d(6, 6, 3, indice_key="subm"),
        native.SubMConv3d(6, 6, 3),
    )
    net(native.SparseConvTensor(features, indices, SHAPE, BATCH)).features.sum().backward()
    assert len(built) == 1


def test_same_bits_on_one_thread_and_on_three():
    features, indices = scan(900)
    torch.manual_seed(8)
    conv = native.SparseConv3d(4, 40, 3, stride=2, padding=1)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            leaf = features.clone().requires_grad_()
            out = conv(native.SparseConvTensor(leaf, indices, SHAPE, BATCH)).features
            results.append((out, *torch.autograd.grad(out.square().sum(), [leaf, conv.weight])))
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_forked_process_convolves():
    """Threads do not survive a fork: a pool that was kept would wait for ever."""
    program = """
import os, torch
from lidar_rank.sparse import native
torch.set_num_threads(2)
indices = torch.tensor([[0, 0, 0, i] for i in range(9)], dtype=torch.int32)
layer = native.SubMConv3d(4, 6, 3)
with torch.no_grad():
    def run(): return layer(native.SparseConvTensor(torch.ones(9, 4), indices, [3, 3, 9], 1)).features.sum().item()
    here = run()
    child = os.fork()
    if child == 0:
        os._exit(0 if run() == here else 1)
    assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)


def test_gradients_that_are_not_contiguous():
    features, indices = scan(200)
    features.requires_grad_()
    conv = native.SubMConv3d(4, 6, 3)
    out = conv(native.SparseConvTensor(features, indices, SHAPE, BATCH)).features
    want = torch.autograd.grad(out, [features, conv.weight], torch.ones(200, 6), retain_graph=True)
    got = torch.autograd.grad(out, [features, conv.weight], torch.ones(1, 1).expand(200, 6))
    for a, b in zip(got, want, strict=True):
        assert torch.equal(a, b)


def test_gradient_of_frozen_weights_is_not_computed():
    features, indices = scan(200)
    conv = native.SubMConv3d(4, 6, 3).requires_grad_(False)
    out = conv(native.SparseConvTensor(features.requires_grad_(), indices, SHAPE, BATCH)).features
    out.sum().backward()
    assert conv.weight.grad is None
    assert features.grad.abs().max() > 0


def test_autocast_computes_in_float32():
    features, indices = scan(200)
    net = native.SparseSequential(native.SubMConv3d(4, 6, 3), native.SparseConv3d(6, 8, 1)).requires_grad_()
    plain = net(native.SparseConvTensor(features, indices, SHAPE, BATCH)).features
    plain.square().sum().backward()
    want = net[0].weight.grad.clone()
    net.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(native.SparseConvTensor(features, indices, SHAPE, BATCH)).features
    out.square().sum().backward()
    assert out.dtype == torch.float32
    assert torch.equal(out, plain)
    assert torch.equal(net[0].weight.grad, want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_features_give_narrow_features(dtype):
    features, indices = scan(200)
    conv = native.SubMConv3d(4, 6, 3)
    want = conv(native.SparseConvTensor(features.to(dtype).float(), indices, SHAPE, BATCH)).dense()
    out = conv.to(dtype)(native.SparseConvTensor(features.to(dtype).requires_grad_(), indices, SHAPE, BATCH)).dense()
    assert out.dtype == dtype
    assert_close(out.float(), want, rtol=0.03, atol=0.03)
    out.sum().backward()
    assert conv.weight.grad.dtype == dtype


def test_layers_can_be_copied():
    conv = native.SubMConv3d(4, 6, 3)
    features, indices = scan(200)
    x = native.SparseConvTensor(features, indices, SHAPE, BATCH)
    assert torch.equal(copy.deepcopy(conv)(x).features, conv(x).features)


class TestBadInput:
    def tensor(self, indices: Any, shape: list[int] = SHAPE, batch: int = BATCH) -> native.SparseConvTensor:
        indices = torch.as_tensor(indices, dtype=torch.int32)
        return native.SparseConvTensor(torch.zeros(len(indices), 4), indices, shape, batch)

    def test_duplicates(self):
        with pytest.raises(
            ValueError, match=r"voxels 0 and 2 are duplicates, both at \(scan, z, y, x\) = \(1, 2, 3, 4\)"
        ):
            self.tensor([[1, 2, 3, 4], [0, 0, 0, 0], [1, 2, 3, 4]])

    @pytest.mark.parametrize(
        "voxel", [[3, 0, 0, 0], [-1, 0, 0, 0], [0, 5, 0, 0], [0, 0, 9, 0], [0, 0, 0, 11], [0, 0, 0, -1]]
    )
    def test_outside_of_the_grid(self, voxel):
        with pytest.raises(ValueError, match=r"voxel 1 at .* lies outside of a batch of 3 scans of \[5, 9, 11\] cells"):
            self.tensor([[0, 0, 0, 0], voxel])

    def test_more_cells_than_int64(self):
        with pytest.raises(ValueError, match="more cells than int64 counts"):
            self.tensor([[0, 0, 0, 0]], [2**21] * 3, 2)

    def test_more_cells_than_int64_with_the_border_of_a_kernel(self):
        x = self.tensor([[0, 0, 0, 0]], [2**21 - 1] * 3, 1)
        with pytest.raises(ValueError, match="more cells than int64 counts"):
            native.SubMConv3d(4, 4, 5)(x)

    def test_int64_indices(self):
        with pytest.raises(TypeError, match=r"indices must be int32, got torch.int64: call .int\(\)"):
            native.SparseConvTensor(torch.zeros(1, 4), torch.zeros(1, 4, dtype=torch.int64), SHAPE, BATCH)

    def test_two_dimensions(self):
        with pytest.raises(ValueError, match="3D convolutions only"):
            native.SparseConvTensor(torch.zeros(1, 4), torch.zeros(1, 3, dtype=torch.int32), SHAPE[1:], BATCH)

    @pytest.mark.parametrize("device", ["meta", pytest.param("cuda", marks=pytest.mark.gpu)])
    def test_tensor_that_is_not_on_the_cpu(self, device):
        features, indices = scan(5)
        with pytest.raises(ValueError, match=f"runs on the CPU, got a tensor on {device}.*pip install spconv-cu120"):
            native.SparseConvTensor(features.to(device), indices.to(device), SHAPE, BATCH)
        with pytest.raises(ValueError, match="runs on the CPU"):
            self.tensor(indices).replace_feature(features.to(device))

    def test_features_of_other_voxels(self):
        with pytest.raises(ValueError, match=r"one row for each of 1 voxels, got shape \(2, 4\)"):
            self.tensor([[0, 0, 0, 0]]).replace_feature(torch.zeros(2, 4))

    def test_other_channels(self):
        with pytest.raises(ValueError, match="takes 5 channels, got features of shape"):
            native.SubMConv3d(5, 6, 3)(self.tensor([[0, 0, 0, 0]]))

    def test_kernel_larger_than_the_grid(self):
        with pytest.raises(ValueError, match="leaves no output"):
            native.SparseConv3d(4, 6, 7)(self.tensor([[0, 0, 0, 0]]))

    @pytest.mark.parametrize("options", [{"kernel_size": 0}, {"kernel_size": (3, 3)}, {"stride": 0}, {"padding": -1}])
    def test_sizes(self, options):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be one number or three"):
            native.SparseConv3d(4, 6, **{"kernel_size": 3, **options})

    def test_groups(self):
        with pytest.raises(ValueError, match="groups must be 1, got 2"):
            native.SubMConv3d(4, 6, 3, groups=2)

    def test_stride_of_a_submanifold_convolution(self):
        with pytest.raises(ValueError, match="stride must be 1"):
            native.SubMConv3d(4, 6, 3, stride=2)

    def test_inverse_of_what_has_not_run(self):
        with pytest.raises(ValueError, match=r"no strided convolution with indice_key 'down' has run"):
            native.SparseInverseConv3d(4, 6, 3, "down")(self.tensor([[0, 0, 0, 0]]))

    def test_inverse_with_another_kernel(self):
        middle = native.SparseConv3d(4, 4, 3, 2, indice_key="down")(self.tensor([[0, 0, 0, 0]]))
        with pytest.raises(ValueError, match=r"has kernel \[3, 3, 3\], its inverse \[1, 3, 3\]"):
            native.SparseInverseConv3d(4, 6, (1, 3, 3), "down")(middle)

    def test_inverse_on_other_voxels(self):
        middle = native.SparseConv3d(4, 4, 3, 2, indice_key="down")(self.tensor([[0, 2, 2, 2]]))
        further = native.SparseConv3d(4, 4, 1, 2)(middle)
        with pytest.raises(ValueError, match="not on the voxels that the convolution 'down' gave"):
            native.SparseInverseConv3d(4, 6, 3, "down")(further)

    def test_two_strided_convolutions_of_one_name(self):
        middle = native.SparseConv3d(4, 4, 3, 2, indice_key="down")(self.tensor([[0, 2, 2, 2]]))
        with pytest.raises(ValueError, match="indice_key 'down' has run already"):
            native.SparseConv3d(4, 4, 1, 2, indice_key="down")(middle)

    @pytest.mark.parametrize("name", ["SparseConv2d", "SubMConv4d", "SparseMaxPool3d"])
    def test_layers_that_are_not_there(self, name):
        with pytest.raises(NotImplementedError, match=f"no {name}: pip install spconv-cu120"):
            getattr(native, name)(4, 6, 3)

    def test_layers_of_one_name(self):
        with pytest.raises(ValueError, match="a layer named '0'"):
            native.SparseSequential(nn.ReLU(), **{"0": nn.ReLU()})
