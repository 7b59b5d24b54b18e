"""Every backend that this machine has."""

import functools
import sys
from types import ModuleType

import pytest

from lidar_rank.sparse import backends

_NAMES = ("spconv", "spconv.pytorch")


@functools.cache
def load_spconv() -> ModuleType:
    """spconv itself; afterwards its name belongs again to the backend that stands in for it, or to nobody."""
    stand_ins = {name: sys.modules.pop(name, None) for name in _NAMES}
    try:
        return backends.load("spconv")
    finally:
        for name, module in stand_ins.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def load(name: str) -> ModuleType:
    """A backend; the test is skipped where it is not installed."""
    if name == "native":
        return backends.load(name)
    try:
        return load_spconv()
    except ImportError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def spconv() -> ModuleType:
    """spconv, whose checkpoints say the version of their layout, as mmdet3d makes them say it."""
    module = load("spconv")
    module.SparseModule._version = 2
    return module


@pytest.fixture(params=["native", "spconv"])
def backend(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.param)
