"""Which operators mmcv gets, and when."""

import os
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from lidar_rank.mm import ops

ENVIRONMENT = dict(os.environ)
NAME = "mmcv._ext"


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    monkeypatch.delenv(ops.SETTING, raising=False)


@pytest.fixture
def compiled(monkeypatch) -> ModuleType:
    """Compiled operators that load."""
    module = ModuleType(NAME)
    monkeypatch.setattr(ops, "import_module", lambda name: sys.modules.setdefault(name, module))
    return module


def fail(error: ImportError):
    def import_module(_: str) -> None:
        raise error

    return import_module


def test_compiled_operators_are_preferred(compiled):
    ops.install()
    assert sys.modules[NAME] is compiled


def test_without_compiled_operators_ours_are_used(monkeypatch):
    monkeypatch.setattr(ops, "import_module", fail(ModuleNotFoundError(f"No module named {NAME!r}")))
    ops.install()
    assert isinstance(sys.modules[NAME], ops.OwnOperators)
    assert find_spec(NAME) is not None
    installed = sys.modules[NAME]
    ops.install()
    assert sys.modules[NAME] is installed


def test_compiled_operators_that_do_not_load_are_named_and_ours_used(monkeypatch):
    monkeypatch.setattr(ops, "import_module", fail(ImportError("undefined symbol: _ZN3c10")))
    with pytest.warns(UserWarning, match=r"undefined symbol: _ZN3c10.*LIDAR_RANK_OPS=own"):
        ops.install()
    assert isinstance(sys.modules[NAME], ops.OwnOperators)


@pytest.mark.usefixtures("compiled")
def test_ours_can_be_insisted_on(monkeypatch):
    monkeypatch.setenv(ops.SETTING, "own")
    ops.install()
    assert isinstance(sys.modules[NAME], ops.OwnOperators)


def test_it_is_too_late_for_ours_once_compiled_ones_are_loaded(compiled, monkeypatch):
    sys.modules[NAME] = compiled
    monkeypatch.setenv(ops.SETTING, "own")
    with pytest.raises(ImportError, match=r"import lidar_rank\.mm before mmcv"):
        ops.install()


def test_compiled_ones_can_be_insisted_on(monkeypatch):
    monkeypatch.setenv(ops.SETTING, "mmcv")
    monkeypatch.setattr(ops, "import_module", fail(ModuleNotFoundError(f"No module named {NAME!r}")))
    with pytest.raises(ImportError, match="LIDAR_RANK_OPS=mmcv, but mmcv has no operators that load: pip uninstall"):
        ops.install()


def test_another_setting_is_refused(monkeypatch):
    monkeypatch.setenv(ops.SETTING, "cuda")
    with pytest.raises(ValueError, match="LIDAR_RANK_OPS must be own, mmcv or empty, got 'cuda'"):
        ops.install()


def test_host_registers_and_runs_with_ours():
    """In a process of its own, where nothing has imported mmcv before."""
    program = """
import warnings
warnings.simplefilter("ignore")
import lidar_rank.mm
import sys
import mmcv.ops, torch
from mmcv.ops import RoIAlign, batched_nms
from mmdet3d.models.data_preprocessors.voxelize import VoxelizationByGridShape
from mmdet3d.models.layers import nms_bev
from mmdet3d.registry import MODELS
assert type(sys.modules["mmcv.ops.nms"].ext_module).__name__ == "OwnOperators"
assert "VoxelNet" in MODELS and mmcv.ops.get_compiler_version().startswith("none")
boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]], requires_grad=True)
scores = torch.tensor([0.5, 0.9, 0.1])
print(batched_nms(boxes, scores, torch.zeros(3), {"type": "nms", "iou_threshold": 0.5})[1].tolist())
print(nms_bev(torch.cat([boxes, torch.zeros(3, 1)], 1), scores, 0.5).tolist())
features = torch.ones(1, 1, 8, 8, requires_grad=True)
RoIAlign(2)(features, torch.tensor([[0.0, 1, 1, 5, 5]])).sum().backward()
print(round(float(features.grad.sum()), 4))
layer = VoxelizationByGridShape([0, 0, 0, 4, 4, 4], 2, voxel_size=[1, 1, 1], max_voxels=5)
print(layer(torch.tensor([[3.5, 0.5, 0.5], [0.5, 0.5, 0.5], [3.6, 0.1, 0.2]]))[1].tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**ENVIRONMENT, ops.SETTING: "own"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == ["[1, 2]", "[1, 2]", "4.0", "[[0, 0, 3], [0, 0, 0]]"]
