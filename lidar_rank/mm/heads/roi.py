"""The box head of Faster R-CNN, for the localization losses of the core."""

import torch
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from torch import Tensor

from lidar_rank.labels import is_object
from lidar_rank.mm.heads.per_image import paired_iou
from lidar_rank.mm.registry import MODELS


@MODELS.register_module()
class BalancedBBoxHead(Shared2FCBBoxHead):
    """mmdet's ``Shared2FCBBoxHead`` of Faster R-CNN with a localization loss of the core.

    The loss also gets the overlap of each positive's regressed box with its object. It normalises itself by the number
    of positives, where the host divides by the number of all sampled regions. Classification is the host's.

    Args:
        *args: As the host's.
        **kwargs: As the host's. ``loss_bbox`` is a localization loss of scope ``lidar_rank``, on encoded boxes.

    Raises:
        ValueError: ``reg_decoded_bbox`` is True.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.reg_decoded_bbox:
            raise ValueError("BalancedBBoxHead regresses encoded boxes: reg_decoded_bbox must be False, got True")

    def loss(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        reduction_override: str | None = None,
    ) -> dict[str, Tensor]:
        """Losses of the sampled regions; arguments as the host's."""
        losses = super().loss(
            cls_score, None, rois, labels, label_weights, bbox_targets, bbox_weights, reduction_override
        )
        (positive,) = is_object(labels, self.num_classes).nonzero(as_tuple=True)
        deltas = bbox_pred[positive].float().unflatten(1, (-1, self.bbox_coder.encode_size))
        own_class = torch.zeros_like(labels) if self.reg_class_agnostic else labels
        deltas = deltas[torch.arange(len(deltas), device=deltas.device), own_class[positive]]
        priors, targets = rois[positive, 1:], bbox_targets[positive]
        boxes = tuple(self.bbox_coder.decode(priors, encoded) for encoded in (deltas, targets))
        iou = paired_iou(*boxes).detach()
        return {**losses, "loss_bbox": self.loss_bbox(deltas, targets, iou=iou, boxes=boxes)}
