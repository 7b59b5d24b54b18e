"""The head of ATSS, with losses that know which image each candidate belongs to."""

import torch
from mmdet.models.dense_heads import ATSSHead
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from lidar_rank.mm import seam
from lidar_rank.mm.heads.per_image import PerImageHead, check_objects
from lidar_rank.mm.registry import MODELS


@MODELS.register_module()
class PerImageATSSHead(PerImageHead, ATSSHead):
    """mmdet's ``ATSSHead`` with the losses of the core; see :class:`PerImageHead`.

    Centerness is trained as in the host, and its targets weight a localization loss on boxes.
    """

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        centernesses: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of a batch; arguments as the host's."""
        check_objects(batch_gt_instances, batch_img_metas, self.num_classes)
        sizes = [level.shape[-2:] for level in bbox_preds]
        anchors = torch.cat(self.prior_generator.grid_priors(sizes, device=bbox_preds[0].device))
        match = self.match(bbox_preds, batch_gt_instances, batch_img_metas, batch_gt_instances_ignore)
        targets = self.centerness_target(anchors[match.place[1]], match.box_targets)
        centerness = seam.by_image(centernesses, 1)[match.place].squeeze(1)
        number = reduce_mean(match.positive.sum().float()).clamp(min=1)
        return {
            "loss_cls": self.classification(cls_scores, match),
            "loss_bbox": self.localization(match, weight=targets),
            "loss_centerness": self.loss_centerness(centerness, targets, avg_factor=number),
        }
