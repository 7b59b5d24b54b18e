"""Which backend runs where, and what the repairs of spconv do beside the layers' values."""

import copy
import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from lidar_rank import sparse
from lidar_rank.sparse import backends, native
from tests.sparse.scans import BATCH, SHAPE, scan


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch):
    """The choice on a machine with or without a GPU and the packages; neither spconv nor the host has been imported."""
    for name in ("spconv", "spconv.pytorch", "mmdet3d.models.layers.sparse_block"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delenv("LIDAR_RANK_SPARSE", raising=False)
    monkeypatch.setenv("LIDAR_RANK_SKIP", "repair_spconv, limit_triton_tiles")
    imported = {
        "lidar_rank.sparse.native": native,
        **{name: ModuleType(name) for name in ("spconv.pytorch", "spconv_triton.pytorch")},
    }
    monkeypatch.setattr(backends, "import_module", imported.__getitem__)

    def choose(*installed: str, cuda: bool = False, variable: str | None = None) -> str:
        if variable is not None:
            monkeypatch.setenv("LIDAR_RANK_SPARSE", variable)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        # The package spconv comes from the distribution spconv (CPU build) or from one such as spconv-cu120.
        monkeypatch.setattr(backends, "_has_distribution", lambda name: f"CPU build of {name}" in installed)
        packages = [name.removeprefix("CPU build of ") for name in installed]
        monkeypatch.setattr(backends, "_is_installed", packages.__contains__)
        backends.backend.cache_clear()
        return backends.backend().__name__

    yield choose
    backends.backend.cache_clear()


@pytest.mark.parametrize(
    ("installed", "cuda", "chosen"),
    [
        ((), False, "lidar_rank.sparse.native"),
        (("spconv", "spconv_triton"), False, "lidar_rank.sparse.native"),
        (("spconv", "spconv_triton"), True, "spconv.pytorch"),
        (("spconv_triton",), True, "spconv_triton.pytorch"),
        (("CPU build of spconv", "spconv_triton"), True, "spconv_triton.pytorch"),
        (("CPU build of spconv",), True, "lidar_rank.sparse.native"),
        ((), True, "lidar_rank.sparse.native"),
    ],
)
def test_choice_by_device_and_by_what_is_installed(choice, installed, cuda, chosen):
    assert choice(*installed, cuda=cuda) == chosen


@pytest.mark.parametrize(
    ("variable", "chosen"),
    [("native", "lidar_rank.sparse.native"), ("spconv", "spconv.pytorch"), ("spconv_triton", "spconv_triton.pytorch")],
)
def test_variable_decides(choice, variable, chosen):
    assert choice("spconv", "spconv_triton", cuda=True, variable=variable) == chosen


def test_spconv_on_a_cpu_if_the_variable_says_so(choice):
    assert choice("spconv", variable="spconv") == "spconv.pytorch"


def test_empty_variable_is_no_choice(choice):
    assert choice("spconv", variable="") == "lidar_rank.sparse.native"


def test_unknown_backend_lists_the_known_ones(choice):
    with pytest.raises(ValueError, match="must be one of native, spconv, spconv_triton, got 'torchsparse'"):
        choice(variable="torchsparse")


@pytest.mark.parametrize(
    ("variable", "command"), [("spconv", "pip install spconv-cu120"), ("spconv_triton", "pip install spconv-triton")]
)
def test_backend_that_is_not_installed_says_what_to_install(choice, variable, command):
    with pytest.raises(ImportError, match=command):
        choice(cuda=True, variable=variable)


def test_triton_without_a_gpu_says_so(choice):
    with pytest.raises(ImportError, match="GPU only"):
        choice("spconv_triton", variable="spconv_triton")


def test_spconv_stays_where_it_has_been_imported(choice, monkeypatch):
    monkeypatch.setitem(sys.modules, "spconv.pytorch", ModuleType("spconv.pytorch"))
    assert choice("spconv") == "spconv.pytorch"


def test_backend_that_stands_in_for_spconv_is_not_taken_for_it(choice, monkeypatch):
    monkeypatch.setitem(sys.modules, "spconv.pytorch", native)
    assert choice("spconv") == "lidar_rank.sparse.native"


@pytest.mark.parametrize(("installed", "cuda"), [("spconv", False), ("spconv_triton", True)])
def test_host_finds_the_backend_under_the_name_of_spconv(choice, monkeypatch, installed, cuda):
    choice(installed, cuda=cuda)
    for name in ("spconv", "spconv.pytorch"):  # for monkeypatch to put back
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sparse.provide_to_host()
    import spconv
    import spconv.pytorch

    assert spconv.pytorch is backends.backend()
    assert spconv.__version__ >= "2.0.0"
    sparse.provide_to_host()
    assert spconv.pytorch is backends.backend()


def test_host_that_has_other_layers_already_is_an_error(choice, monkeypatch):
    choice()
    bound = ModuleType("mmdet3d.models.layers.sparse_block")
    bound.SparseConvTensor = type("SparseConvTensor", (), {"__module__": "mmcv.ops"})
    monkeypatch.setitem(sys.modules, bound.__name__, bound)
    with pytest.raises(ImportError, match=r"took its sparse layers from mmcv\.ops.* before mmdet3d"):
        sparse.provide_to_host()


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchLayer"):
        _ = sparse.NoSuchLayer


def test_layers_come_from_the_backend():
    assert sparse.SubMConv3d is sparse.backend().SubMConv3d


def test_native_imports_neither_spconv_nor_the_host():
    program = """
import sys
from lidar_rank import sparse
sparse.provide_to_host()
sparse.SubMConv3d(4, 6, 3)
loaded = {name.split(".")[0] for name, module in sys.modules.items() if not name.startswith("spconv")}
assert not loaded & {"cumm", "mmcv", "mmdet3d", "spconv"}, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "LIDAR_RANK_SPARSE": "native"})


def test_asking_for_a_stream_without_cuda_is_harmless(spconv, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert spconv.ops.get_current_stream() == 0


def test_repair_can_be_left_out(spconv, monkeypatch):
    repaired = []
    monkeypatch.setattr(backends, "import_module", lambda _: spconv)
    monkeypatch.setattr(backends, "_wrap", lambda _, name, __: repaired.append(name))
    monkeypatch.setenv("LIDAR_RANK_SKIP", "repair_spconv")
    assert backends.load("spconv") is spconv
    assert repaired == []
    monkeypatch.delenv("LIDAR_RANK_SKIP")
    backends.load("spconv")
    assert "forward" in repaired


@pytest.fixture
def triton_kernels(monkeypatch):
    """A stand-in for spconv-triton with few candidates; returns a function that tells which of them Triton tries."""
    products = [
        SimpleNamespace(kwargs={"BLOCK_N": n, "BLOCK_R": r}) for n, r in ((16, 16), (32, 16), (64, 32), (256, 64))
    ]
    gradients = [SimpleNamespace(kwargs={"BLOCK_K": k, "BLOCK_C": c}) for k, c in ((16, 16), (64, 32), (64, 128))]
    gemm = ModuleType("spconv_triton.pytorch._impl.gemm")
    gemm._gather_gemm_kernel = SimpleNamespace(configs=products, early_config_prune=None)
    gemm._dweight_masked_kernel = SimpleNamespace(configs=gradients, early_config_prune=None)
    modules = {"spconv_triton.pytorch": ModuleType("spconv_triton.pytorch"), gemm.__name__: gemm}
    monkeypatch.setattr(backends, "import_module", modules.__getitem__)
    monkeypatch.setattr(backends, "_is_installed", lambda _: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("LIDAR_RANK_SKIP", raising=False)

    def tried(kernel: str, **arguments: int) -> list[tuple[int, ...]]:
        tuner = getattr(gemm, kernel)
        found = (
            tuner.early_config_prune(tuner.configs, arguments, IEEE=True) if tuner.early_config_prune else tuner.configs
        )
        return [tuple(one.kwargs.values()) for one in found]

    return tried


@pytest.mark.parametrize(
    ("channels_out", "channels_in", "tried"),
    [
        (16, 4, [(16, 16)]),
        (32, 16, [(16, 16), (32, 16)]),
        (33, 32, [(16, 16), (32, 16), (64, 32)]),
        (128, 64, [(16, 16), (32, 16), (64, 32)]),
        (256, 64, [(16, 16), (32, 16), (64, 32), (256, 64)]),
    ],
)
def test_triton_tries_no_tile_that_is_wider_than_the_layer(triton_kernels, channels_out, channels_in, tried):
    backends.load("spconv_triton")
    assert triton_kernels("_gather_gemm_kernel", N_dim=channels_out, R_dim=channels_in) == tried


def test_triton_tries_tiles_of_gradients_by_the_channels_of_the_weights(triton_kernels):
    backends.load("spconv_triton")
    assert triton_kernels("_dweight_masked_kernel", K_dim=64, C_dim=32) == [(16, 16), (64, 32)]


def test_triton_tries_all_tiles_if_the_repair_is_left_out(triton_kernels, monkeypatch):
    monkeypatch.setenv("LIDAR_RANK_SKIP", "limit_triton_tiles")
    backends.load("spconv_triton")
    assert len(triton_kernels("_gather_gemm_kernel", N_dim=16, R_dim=16)) == 4


def test_repair_is_applied_once(spconv):
    before = spconv.SparseConvTensor.__init__
    backends.repair_spconv(spconv)
    assert spconv.SparseConvTensor.__init__ is before


def test_layer_of_spconv_survives_copy_and_keeps_its_algorithm(spconv):
    conv = spconv.SubMConv3d(4, 6, 3, padding=1)
    algorithm = conv.algo
    features, indices = scan(20)
    copy.deepcopy(conv)(spconv.SparseConvTensor(features, indices, SHAPE, BATCH))
    conv(spconv.SparseConvTensor(features, indices, SHAPE, BATCH))
    assert conv.algo == algorithm
