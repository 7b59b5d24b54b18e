"""Sparse convolution in 3D that trains on CPUs; a stand-in for ``spconv.pytorch`` with the same layers and weights.

Sources: Graham & van der Maaten, "Submanifold Sparse Convolutional Networks", arXiv:1706.01307 (submanifold
convolution, rulebooks); Yan et al., "SECOND: Sparsely Embedded Convolutional Detection", Sensors 2018 (their use on
scans). A weight is (out channel, z, y, x, in channel), as in spconv 2.
"""

from typing import Any

from lidar_rank.sparse.native.layers import (
    SparseConv3d,
    SparseConvTranspose3d,
    SparseInverseConv3d,
    SparseModule,
    SparseSequential,
    SubMConv3d,
)
from lidar_rank.sparse.native.tensor import SparseConvTensor

__all__ = [
    "SparseConv3d",
    "SparseConvTensor",
    "SparseConvTranspose3d",
    "SparseInverseConv3d",
    "SparseModule",
    "SparseSequential",
    "SubMConv3d",
]


def _absent(name: str) -> type[SparseModule]:
    def init(self: SparseModule, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            f"the native sparse backend has no {name}: pip install spconv-cu120==2.3.6 (Python <= 3.11) and set"
            " LIDAR_RANK_SPARSE=spconv"
        )

    return type(name, (SparseModule,), {"__init__": init})


# mmdet3d imports these names even if no layer of the model needs them.
_ABSENT = (
    "SparseConv2d",
    "SparseConv4d",
    "SparseConvTranspose2d",
    "SparseInverseConv2d",
    "SparseMaxPool3d",
    "SubMConv2d",
    "SubMConv4d",
)
globals().update({name: _absent(name) for name in _ABSENT})
