"""Fixtures that more than one folder of tests needs."""

import gc
import importlib.util
import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

SHARED = Path(os.environ.get("LIDAR_RANK_SHARED", Path(__file__).parents[2] / "shared"))
HAS_HOST = all(importlib.util.find_spec(name) for name in ("mmengine", "mmcv", "mmdet", "mmdet3d"))
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lidar_rank" / "tests"

# Files there import the host when they are collected.
collect_ignore = [] if HAS_HOST else ["mm"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and say why."""
    has_real = (SHARED / "kitti" / "unpack.sh").exists()
    has_gpu = _cuda_is_available()
    for item in items:
        if "real" in item.keywords and not has_real:
            item.add_marker(pytest.mark.skip(reason=f"no real frames at {SHARED}: set LIDAR_RANK_SHARED"))
        if "mm" in item.keywords and not HAS_HOST:
            item.add_marker(pytest.mark.skip(reason="no mmdet3d: run make setup"))
        if "gpu" in item.keywords and not has_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_collection_finish() -> None:
    """Leave what the collection made out of garbage collection, which mmengine runs for each data set that it loads."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    """Processes of data loaders live until the runner that they belong to is collected, and hold every open file."""
    before = set(multiprocessing.active_children())
    yield
    if not set(multiprocessing.active_children()) <= before:
        gc.collect()
        assert set(multiprocessing.active_children()) - before == set()


def _cuda_is_available() -> bool:
    if not importlib.util.find_spec("torch"):
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real material; read only."""
    return SHARED


@pytest.fixture(scope="session")
def kitti_root() -> Path:
    """A KITTI root of 83 real frames, unpacked once; tests write elsewhere."""
    root = CACHE / "kitti"
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_suffix(".lock")):  # the suite runs in several processes
        subprocess.run(["bash", str(SHARED / "kitti" / "unpack.sh"), str(root)], check=True)
    return root
