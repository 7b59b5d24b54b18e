"""The region proposals of Faster R-CNN, with losses that rank all anchors of an image."""

from mmdet.models.dense_heads import RPNHead

from lidar_rank.mm.heads.per_image import PerImageHead
from lidar_rank.mm.registry import MODELS

_INIT = {
    "type": "Normal",
    "layer": "Conv2d",
    "std": 0.01,
    "override": {"type": "Normal", "name": "rpn_cls", "std": 0.01},
}


@MODELS.register_module()
class PerImageRPNHead(PerImageHead, RPNHead):
    """mmdet's ``RPNHead`` with the losses of the core; see :class:`PerImageHead`.

    A ranking loss is over all anchors: set ``sampler`` to a ``PseudoSampler`` in ``train_cfg.rpn``, or those that the
    host's sampler leaves out are ignored.
    """

    def __init__(self, *args, init_cfg: dict = _INIT, **kwargs) -> None:
        super().__init__(*args, init_cfg=init_cfg, **kwargs)
