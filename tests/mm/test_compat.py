"""Every repair of the host: what it repairs, what it changes, and that it can be left out."""

import ast
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import mean_ap
from mmdet3d.structures.ops import box_np_ops
from mmengine.config import Config
from mmengine.fileio import put
from mmengine.logging import MessageHub
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher

from lidar_rank.kernels import jit
from lidar_rank.mm import compat, deferred

from .conftest import CONFIGS

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_checkpoint_with_a_history_loads_with_the_weights_only_check(tmp_path):
    hub = MessageHub("history")
    hub.update_scalar("train/loss", torch.tensor(1.5))
    hub.update_scalar("train/rate", np.float64(0.25))
    torch.save({"message_hub": hub.state_dict(), "meta": {"best": np.float64(3)}}, tmp_path / "c.pth")
    loaded = torch.load(tmp_path / "c.pth", weights_only=True)
    assert loaded["message_hub"]["log_scalars"]["train/loss"].mean() == 1.5
    assert loaded["meta"]["best"] == 3


class _Attack:
    def __reduce__(self):
        return getattr, (torch.Tensor, "numpy")


def test_checkpoint_cannot_fetch_other_attributes(tmp_path):
    torch.save(_Attack(), tmp_path / "attack.pth")
    with pytest.raises(ValueError, match="may name methods of mmengine"):
        torch.load(tmp_path / "attack.pth", weights_only=True)


def test_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "epoch_1.pth"
    put(b"old", str(target))

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*epoch_1\.pth'"):
        put(b"new", str(target))
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_augmentation_is_cached():
    from mmdet3d.datasets.transforms import data_augment_utils

    assert isinstance(data_augment_utils.noise_per_box._cache, FunctionCache)


def test_processes_of_the_voc_evaluation_have_ended_when_its_pool_is_closed():
    others = set(multiprocessing.active_children())
    pool = mean_ap.Pool(2, initializer=time.sleep, initargs=(0.2,))
    assert len(set(multiprocessing.active_children()) - others) == 2
    pool.close()
    assert set(multiprocessing.active_children()) <= others


def test_numpy_long_is_there():
    compat.restore_numpy_long()
    assert np.array([1], dtype=np.long).dtype.kind == "i"


def test_formatted_config_is_the_same_config_in_short_lines(monkeypatch):
    path = CONFIGS / "second" / "second_kitti-car_small.py"
    monkeypatch.setattr("mmengine.config.config.FormatCode", lambda text, style_config: (text, True))  # noqa: ARG005
    bare = Config.fromfile(path).pretty_text
    compat.format_configs_quickly()
    formatted = Config.fromfile(path).pretty_text
    assert ast.dump(ast.parse(formatted)) == ast.dump(ast.parse(bare))
    assert max(map(len, formatted.splitlines())) <= 120
    for value in ({"a b": ["x" * 50, "y" * 50, ("z" * 90,)]}, {1: "x" * 90, "b c": {2: 3}}, "x" * 200):
        text = Config({"value": value}).pretty_text
        assert Config.fromstring(text, ".py").value == value


def test_augmentation_that_cannot_be_cached_is_compiled_anew(monkeypatch):
    refused = []

    def refuse(function):
        refused.append(function)
        raise RuntimeError(f"cannot cache function {function.__name__!r}: no locator available")

    compiled = [member for member in vars(box_np_ops).values() if isinstance(member, Dispatcher)]
    caches = [function._cache for function in compiled]
    monkeypatch.setattr(jit, "_Cache", refuse)
    compat.cache_compiled_augmentation()
    assert {function.py_func for function in compiled} <= set(refused), "one that is refused does not stop the others"
    assert [function._cache for function in compiled] == caches


# Prints which names of other packages lidar_rank.mm changes: first without any repair, then by the repairs alone.
LOOK = """
import importlib.util, json, os, sys, types, warnings
warnings.simplefilter("ignore")
if not importlib.util.find_spec("mmcv._ext"):  # mmcv-lite: the host does not load without some operators
    class Operators(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("_"):
                raise AttributeError(name)
            return len
    sys.modules["mmcv._ext"] = Operators("mmcv._ext")
import mmdet3d.datasets, mmdet3d.evaluation, mmdet3d.models, mmengine.runner, spconv.pytorch
from numba.core.dispatcher import Dispatcher

def look():
    found = {}
    for name in modules:
        for key, value in list(vars(sys.modules[name]).items()):
            found[f"{name}.{key}"] = value
            if isinstance(value, type) and (value.__module__, value.__name__) == (name, key):
                found.update({f"{name}.{key}.{part}": member for part, member in list(vars(value).items())})
            if isinstance(value, Dispatcher) and value.py_func.__module__ == name:
                found.setdefault(f"{name}.*", []).append(type(value._cache))
    found["warnings.filters"] = list(warnings.filters)
    return {name: value for name, value in found.items() if not name.endswith("__warningregistry__")}

def changed(before, after):
    plain = (list, tuple)
    same = lambda old, new: old == new if isinstance(old, plain) and isinstance(new, plain) else old is new
    return sorted(name for name in after if name not in before or not same(before[name], after[name]))

modules = set(sys.modules) - {"__main__", "__mp_main__"}
before = look()
import lidar_rank.mm
without = look()
del os.environ["LIDAR_RANK_SKIP"]
lidar_rank.sparse.backend.cache_clear()
lidar_rank.mm.compat.apply()
print("RESULT", json.dumps([changed(before, without), changed(without, look())]))
"""

# Prints where the sparse layers of mmdet3d come from, and whether spconv's compiled code is loaded.
LAYERS = """
import json, sys, warnings
warnings.simplefilter("ignore")
import lidar_rank.mm
from mmdet3d.models.layers import sparse_block
print("RESULT", json.dumps([sparse_block.SparseConvTensor.__module__, "cumm" in sys.modules]))
"""


# Prints which heavy packages an import of ours loads, and what of them the host gets when it uses them.
HEAVY = """
import json, sys, warnings
warnings.simplefilter("ignore")
import lidar_rank.mm, torch.distributed
loaded = [name for name in lidar_rank.mm.deferred.DEFERRED if name in sys.modules]
left = [name for name in ("fsdp", "optim") if name in vars(torch.distributed)]

from mmdet.models.task_modules.assigners import hungarian_assigner
from mmdet3d.evaluation.metrics import lyft_metric
pairs = [index.tolist() for index in hungarian_assigner.linear_sum_assignment([[1.0, 2.0], [3.0, 1.0]])]
table = lyft_metric.pd.DataFrame({"a": [1, 2]})["a"].tolist()

from mmengine.registry import MODEL_WRAPPERS
try:
    MODEL_WRAPPERS.build(dict(type="MMFullyShardedDataParallel", module=torch.nn.Linear(1, 1)))
except Exception as error:
    print("RESULT", json.dumps([loaded, left, pairs, table, str(error)]))
"""


def listed_repairs() -> dict[str, list[str]]:
    """The table of the architecture page: each repair and the names that it changes."""
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", ARCHITECTURE.read_text(), re.MULTILINE)
    return {name: re.findall(r"`([\w.*]+)`", changes) for name, changes in rows}


def run(program: str, **variables: str) -> list:
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.partition("RESULT")[2])


def test_import_changes_nothing_but_what_the_architecture_page_lists_and_each_can_be_left_out():
    listed = listed_repairs()
    elsewhere = {"repair_spconv", "limit_triton_tiles", "defer_imports"}
    assert set(listed) == elsewhere | {repair.__name__ for repair in compat.REPAIRS}
    without, changed = run(LOOK, LIDAR_RANK_SKIP=", ".join(listed), LIDAR_RANK_SPARSE="spconv")
    assert without == ["mmengine.runner.checkpoint.CheckpointLoader._schemes"]  # the page lists it beside the repairs
    assert listed.pop("provide_to_host") == ["spconv", "spconv.pytorch"]  # nothing to do for spconv itself
    assert changed == sorted(name for names in listed.values() for name in names)


def test_host_has_our_sparse_layers_unless_that_is_left_out(tmp_path):
    assert run(LAYERS, LIDAR_RANK_SPARSE="native") == ["lidar_rank.sparse.native.tensor", False]
    # The host then looks for spconv, whose import takes many seconds; here it finds none and takes mmcv's layers.
    (tmp_path / "spconv.py").write_text("raise ImportError")
    paths = os.pathsep.join([str(tmp_path), *sys.path[1:]])
    left_out = run(LAYERS, LIDAR_RANK_SPARSE="native", LIDAR_RANK_SKIP="provide_to_host", PYTHONPATH=paths)
    assert left_out == ["mmcv.ops.sparse_structure", False]


def test_heavy_packages_of_the_host_are_loaded_when_they_are_used():
    loaded, left, pairs, table, error = run(HEAVY)
    assert (loaded, left) == ([], [])
    assert (pairs, table) == ([[0, 1], [0, 1]], [1, 2])
    assert "lidar_rank leaves out to start faster; set LIDAR_RANK_SKIP=defer_imports" in error


def test_deferred_imports_can_be_left_out(monkeypatch):
    with deferred.defer_imports():
        assert type(sys.meta_path[0]).__module__ == deferred.__name__
    finders = list(sys.meta_path)
    monkeypatch.setenv("LIDAR_RANK_SKIP", "defer_imports")
    with deferred.defer_imports():
        assert sys.meta_path == finders


def test_unknown_repair_is_refused(monkeypatch):
    monkeypatch.setenv("LIDAR_RANK_SKIP", "repair_spconv, repair_everything")
    with pytest.raises(ValueError, match="LIDAR_RANK_SKIP names repair_everything; the repairs are allow_mmengine"):
        compat.apply()
