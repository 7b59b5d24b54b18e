"""SA-SSD as plain torch modules, with its occupancy mask and its training targets; detector and head are in ``mm``.

Source: He et al., "Structure Aware Single-stage 3D Object Detection from Point Cloud", CVPR 2020.
"""

from lidar_rank.models.sassd.auxiliary import AuxiliaryNetwork
from lidar_rank.models.sassd.backbone import SparseBackbone, VoxelLevel
from lidar_rank.models.sassd.bev_net import BEVNet
from lidar_rank.models.sassd.interpolation import interpolate, three_nearest
from lidar_rank.models.sassd.occupancy import OccupiedAnchors
from lidar_rank.models.sassd.part_warping import PartSensitiveWarping, part_positions
from lidar_rank.models.sassd.targets import auxiliary_targets, confidence_targets

__all__ = [
    "AuxiliaryNetwork",
    "BEVNet",
    "OccupiedAnchors",
    "PartSensitiveWarping",
    "SparseBackbone",
    "VoxelLevel",
    "auxiliary_targets",
    "confidence_targets",
    "interpolate",
    "part_positions",
    "three_nearest",
]
