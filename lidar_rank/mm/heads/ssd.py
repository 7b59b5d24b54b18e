"""SSD's head, with losses that know which image each candidate belongs to."""

import math

from mmdet.models.dense_heads import SSDHead
from mmengine.model import bias_init_with_prob
from torch import Tensor, nn

from lidar_rank.mm import seam
from lidar_rank.mm.heads.per_image import Match, PerImageHead
from lidar_rank.mm.registry import MODELS


@MODELS.register_module()
class PerImageSSDHead(PerImageHead, SSDHead):
    """mmdet's ``SSDHead`` with the losses of the core, with one score per class and none for background.

    As in the host, only the ``neg_pos_ratio`` hardest background anchors per positive of an image are trained on, and
    the others are ignored; without ``train_cfg.neg_pos_ratio`` all are trained on.

    Args:
        loss_cls: As in :class:`PerImageHead`.
        loss_bbox: As in :class:`PerImageHead`.
        prior_prob: Score of every anchor before training.
        *args: As the host's.
        **kwargs: As the host's.
    """

    def __init__(self, *args, loss_cls: dict, loss_bbox: dict, prior_prob: float = 0.5, **kwargs) -> None:
        super(PerImageHead, self).__init__(*args, **kwargs)
        self.use_sigmoid_cls = True
        self.prior_prob = prior_prob
        self.loss_cls, self.loss_bbox = MODELS.build(loss_cls), MODELS.build(loss_bbox)

    def _init_layers(self) -> None:
        self.cls_out_channels = self.num_classes
        super()._init_layers()

    def init_weights(self) -> None:
        """Initialise as the host does, then make all scores start at ``prior_prob``."""
        super().init_weights()
        for layers in self.cls_convs:
            nn.init.constant_(layers[-1].bias, bias_init_with_prob(self.prior_prob))

    def classification(self, cls_scores: list[Tensor], match: Match) -> Tensor:
        """Classification loss of all images, without the easy background anchors."""
        ratio = self.train_cfg.get("neg_pos_ratio")
        if ratio is not None:
            match = match._replace(labels=self._without_easy(cls_scores, match, ratio))
        return super().classification(cls_scores, match)

    def _without_easy(self, cls_scores: list[Tensor], match: Match, ratio: float) -> Tensor:
        background = match.labels == self.num_classes
        hardness = seam.by_image(cls_scores, self.num_classes).detach().amax(2).masked_fill(~background, -math.inf)
        rank = hardness.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        quota = ratio * match.positive.sum(1, keepdim=True)
        return match.labels.masked_fill(background & (rank >= quota), -1)
