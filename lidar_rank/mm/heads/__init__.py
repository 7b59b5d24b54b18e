"""Heads whose losses know which image each candidate belongs to, one per file; importing the folder registers them."""

from lidar_rank.mm.heads.anchor3d import PerImageAnchor3DHead
from lidar_rank.mm.heads.atss import PerImageATSSHead
from lidar_rank.mm.heads.fovea import PerImageFoveaHead
from lidar_rank.mm.heads.retina import PerImageRetinaHead
from lidar_rank.mm.heads.roi import BalancedBBoxHead
from lidar_rank.mm.heads.rpn import PerImageRPNHead
from lidar_rank.mm.heads.sassd import SASSDHead
from lidar_rank.mm.heads.ssd import PerImageSSDHead

__all__ = [
    "BalancedBBoxHead",
    "PerImageATSSHead",
    "PerImageAnchor3DHead",
    "PerImageFoveaHead",
    "PerImageRPNHead",
    "PerImageRetinaHead",
    "PerImageSSDHead",
    "SASSDHead",
]
