"""What our versions of mmdet's dense heads share: losses that know which image each candidate belongs to."""

from typing import NamedTuple

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from lidar_rank import devices
from lidar_rank.labels import is_object
from lidar_rank.mm import seam
from lidar_rank.mm.registry import MODELS

# The host's constructors decide by the type of the loss whether there is a channel for background.
_SIGMOID_SCORES = {"type": "mmdet.FocalLoss", "use_sigmoid": True}


class Match(NamedTuple):
    """Which candidates are objects, and the boxes (positive, 4) of those that are."""

    labels: Tensor  # (image, candidate), as the losses take them
    positive: Tensor  # (image, candidate)
    place: tuple[Tensor, Tensor]  # (positive,) each: image and candidate of each positive
    deltas: Tensor  # regressed
    delta_targets: Tensor  # boxes if the head regresses boxes
    boxes: Tensor  # regressed: left, top, right, bottom in pixels
    box_targets: Tensor
    iou: Tensor  # (positive,), overlap of each regressed box with its object, differentiable


class PerImageHead:
    """Mixin for a dense head of the host; among the bases of a class it stands before that head.

    The candidates of an image, over all levels and classes, are one group; ignored candidates have label -1. The loss
    also gets the level of each candidate, and the overlap of each positive's regressed box with its object, which is
    differentiable. Each loss is called once per batch, whatever the batch holds.

    Args:
        loss_cls: Config of the classification or ranking loss, of scope ``lidar_rank``; it normalises itself.
        prior_prob: Score of every candidate before training: 0.01 for focal loss, 0.5 for losses that only compare
            scores.
        *args: As the host's.
        **kwargs: As the host's. ``loss_bbox`` is a localization loss of scope ``lidar_rank``, or with
            ``reg_decoded_bbox=True`` also one of the host on boxes.
    """

    reg_decoded_bbox = False

    def __init__(self, *args, loss_cls: dict, prior_prob: float = 0.01, **kwargs) -> None:
        super().__init__(*args, loss_cls=_SIGMOID_SCORES, **kwargs)
        self.init_cfg["override"]["bias_prob"] = prior_prob
        self.loss_cls = MODELS.build(loss_cls)
        pos_weight = (self.train_cfg or {}).get("pos_weight", -1)
        if pos_weight > 0 and pos_weight != 1:  # mmdet takes 0 and less for 1
            raise ValueError(
                f"train_cfg.pos_weight must be -1: losses of scope lidar_rank take no weights, got {pos_weight}"
            )

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of a batch; arguments as the host's."""
        check_objects(batch_gt_instances, batch_img_metas, self.num_classes)
        match = self.match(bbox_preds, batch_gt_instances, batch_img_metas, batch_gt_instances_ignore)
        return {"loss_cls": self.classification(cls_scores, match), "loss_bbox": self.localization(match)}

    @torch.no_grad()
    def candidates(
        self,
        features: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> seam.Candidates:
        """Return score, label and overlap of every candidate, for ``lidar_rank.analysis``.

        Args:
            features: Maps of the neck, (image, channel, y, x) each.
            batch_gt_instances: ``bboxes`` and ``labels`` of each image.
            batch_img_metas: Meta data of each image.
            batch_gt_instances_ignore: ``bboxes`` of each image around which candidates are ignored.
        """
        cls_scores, bbox_preds, *_ = self(features)
        match = self.match(bbox_preds, batch_gt_instances, batch_img_metas, batch_gt_instances_ignore)
        iou = seam.iou_of_candidates(match.iou, match.place, match.labels.shape)
        return seam.Candidates(seam.by_image(cls_scores, self.num_classes).sigmoid(), match.labels, iou)

    def match(
        self, bbox_preds: list[Tensor], objects: list[InstanceData], metas: list[dict], ignored: list | None
    ) -> Match:
        """Match the anchors of each image with its objects, as the host's assigner does."""
        sizes = [level.shape[-2:] for level in bbox_preds]
        anchors, valid = self.get_anchors(sizes, metas, device=bbox_preds[0].device)
        priors = torch.cat(anchors[0])  # the host changes its list
        *_, labels, weights, targets, _, _ = self.get_targets(anchors, valid, objects, metas, ignored)
        labels, weights, targets = (torch.cat(levels, dim=1) for levels in (labels, weights, targets))
        labels = labels.masked_fill(weights == 0, -1)
        positive = is_object(labels, self.num_classes)
        # Looked up once: each look-up by a mask would wait for the device.
        place = positive.nonzero(as_tuple=True)
        priors, targets = priors[place[1]], targets[place]
        deltas = seam.by_image(bbox_preds, self.bbox_coder.encode_size)[place]
        boxes = self.bbox_coder.decode(priors, deltas)
        box_targets = targets if self.reg_decoded_bbox else self.bbox_coder.decode(priors, targets)
        return Match(labels, positive, place, deltas, targets, boxes, box_targets, paired_iou(boxes, box_targets))

    def classification(self, cls_scores: list[Tensor], match: Match) -> Tensor:
        """Classification or ranking loss of all images."""
        return self.loss_cls(
            seam.by_image(cls_scores, self.num_classes),
            match.labels,
            iou=seam.iou_of_candidates(match.iou, match.place, match.labels.shape),
            level=seam.level_of_candidate(cls_scores, self.num_classes),
        )

    def localization(self, match: Match, weight: Tensor | None = None) -> Tensor:
        """Localization loss of all positives; ``weight`` (positive,) is for the host's losses on boxes."""
        boxes = match.boxes, match.box_targets
        if self.reg_decoded_bbox and not seam.is_of_core(self.loss_bbox):
            weight = match.boxes.new_ones(len(match.boxes)) if weight is None else weight
            total = reduce_mean(weight.sum()).clamp(min=1)
            return self.loss_bbox(*boxes, weight=weight, avg_factor=total)
        encoded = boxes if self.reg_decoded_bbox else (match.deltas, match.delta_targets)
        return self.loss_bbox(*encoded, iou=match.iou.detach(), boxes=boxes)


def paired_iou(boxes: Tensor, targets: Tensor) -> Tensor:
    """Overlap (positive,) of each box with its target, both (positive, 4), differentiable."""
    return bbox_overlaps(boxes, targets, is_aligned=True)


def check_objects(objects: list[InstanceData], metas: list[dict], num_classes: int) -> None:
    """Refuse boxes and labels that the host would train on without a warning.

    A box without area has an overlap of zero with every anchor, and the host then makes every anchor a positive of it.
    A label beyond the classes counts as background.

    Raises:
        ValueError: a box has no area or is not finite, or a label is not one of the head's classes.
    """
    for image, meta in zip(objects, metas, strict=True):
        boxes, name = image.bboxes, meta.get("img_path", "an image")
        seam.check_labels(image.labels, num_classes, name)
        valid = boxes.isfinite().all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        devices.require(
            valid.all(),
            f"{name}: each box (left, top, right, bottom) must have an area inside the image",
            lambda boxes=boxes, valid=valid: (
                f"box {boxes[~valid][0].tolist()} has none: correct the label, or leave such boxes out with"
                " dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1))"
            ),
        )
