"""Sparse convolution: the one place that knows which backend runs where.

The layers and ``SparseConvTensor`` are those of the backend that :func:`backend` picks when one of them is first asked
for.
"""

from lidar_rank.sparse.backends import backend, provide_to_host

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
    "provide_to_host",
]


def __getattr__(name: str) -> object:
    if name not in _FROM_BACKEND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(backend(), name)
