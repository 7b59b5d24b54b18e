"""Sparse convolution, with the choice of the backend in one place.

``SparseConvTensor``, ``SubMConv3d``, ``SparseConv3d``, ``SparseInverseConv3d`` and ``SparseSequential`` are the classes
of the backend that :func:`backend` chooses when one of them is first used.
"""

from types import ModuleType

from lidar_rank.sparse.backends import backend, repair_spconv

_FROM_BACKEND = ("SparseConv3d", "SparseConvTensor", "SparseInverseConv3d", "SparseSequential", "SubMConv3d")

__all__ = [
    "SparseConv3d",
    "SparseConvTensor",
    "SparseInverseConv3d",
    "SparseSequential",
    "SubMConv3d",
    "backend",
    "repair_spconv",
]


def __getattr__(name: str) -> object:
    if name not in _FROM_BACKEND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module: ModuleType = backend()
    return getattr(module, name)
