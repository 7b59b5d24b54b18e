"""Sparse convolution, with the choice of the backend in one place.

``SparseConvTensor`` and the layers are the classes of the backend that :func:`backend` chooses when one is first used.
"""

from lidar_rank.sparse.backends import backend, limit_triton_tiles, provide_to_host, repair_spconv

_FROM_BACKEND = (
    "SparseConv3d",
    "SparseConvTensor",
    "SparseConvTranspose3d",
    "SparseInverseConv3d",
    "SparseSequential",
    "SubMConv3d",
)

__all__ = [
    "SparseConv3d",
    "SparseConvTensor",
    "SparseConvTranspose3d",
    "SparseInverseConv3d",
    "SparseSequential",
    "SubMConv3d",
    "backend",
    "limit_triton_tiles",
    "provide_to_host",
    "repair_spconv",
]


def __getattr__(name: str) -> object:
    if name not in _FROM_BACKEND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(backend(), name)
