"""Layers on the features of a batch that may have no voxel, or one."""

from torch import Tensor, nn
from torch.nn import functional as F

from lidar_rank.shapes import Float


def apply_to_rows(layer: nn.Module, features: Float[Tensor, "voxel channel"]) -> Tensor:
    """Apply a layer; batch normalisation of fewer than two rows uses the running statistics, in training too.

    torch refuses a single row in training, because it has no variance. Leaving the layer out if there is no row would
    leave its parameters without a gradient, for which the other ranks of a distributed run wait.
    """
    if isinstance(layer, nn.BatchNorm1d) and len(features) < 2:
        return F.batch_norm(features, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps)
    return layer(features)
