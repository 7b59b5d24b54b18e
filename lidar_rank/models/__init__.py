"""Plain torch modules that the host lacks: those of SA-SSD."""

from lidar_rank.models.auxiliary import AuxiliaryNetwork, auxiliary_targets
from lidar_rank.models.bev_net import BEVNet
from lidar_rank.models.interpolation import interpolate, three_nearest
from lidar_rank.models.part_warping import PartSensitiveWarping, part_positions
from lidar_rank.models.sparse_backbone import SparseBackbone, VoxelLevel

__all__ = [
    "AuxiliaryNetwork",
    "BEVNet",
    "PartSensitiveWarping",
    "SparseBackbone",
    "VoxelLevel",
    "auxiliary_targets",
    "interpolate",
    "part_positions",
    "three_nearest",
]
