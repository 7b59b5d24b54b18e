"""RetinaNet's head, with losses that know which image each candidate belongs to."""

from mmdet.models.dense_heads import RetinaHead

from lidar_rank.mm.heads.per_image import PerImageHead
from lidar_rank.mm.registry import MODELS


@MODELS.register_module()
class PerImageRetinaHead(PerImageHead, RetinaHead):
    """mmdet's ``RetinaHead`` with the losses of the core; see :class:`PerImageHead`."""
