"""RetinaNet's head, with the image boundary kept for the loss."""

from mmdet.models.dense_heads import RetinaHead

from lidar_rank.mm.heads.per_image import PerImageHead
from lidar_rank.mm.registry import MODELS


@MODELS.register_module()
class PerImageRetinaHead(PerImageHead, RetinaHead):
    """mmdet's ``RetinaHead`` for the losses of the core; see :class:`PerImageHead`."""
