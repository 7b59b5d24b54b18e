"""The dense heads of mmdet, with the image boundary kept for the loss, and the box head of Faster R-CNN."""

import math
from typing import NamedTuple

import torch
from mmdet.models.dense_heads import ATSSHead, FoveaHead, RetinaHead, SSDHead
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.models.utils import multi_apply
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import reduce_mean
from mmengine.model import bias_init_with_prob
from mmengine.structures import InstanceData
from torch import Tensor, nn

from lidar_rank.mm import seam
from lidar_rank.mm.registry import MODELS

# The host's constructors decide by the loss whether there is a channel for background.
_SIGMOID_SCORES = {"type": "mmdet.FocalLoss", "use_sigmoid": True}


class Match(NamedTuple):
    """Which candidates are objects, and the boxes (positive, 4) of those that are."""

    labels: Tensor  # (image, candidate), as the losses take them
    positive: Tensor  # (image, candidate)
    deltas: Tensor  # regressed
    deltas_wanted: Tensor  # boxes if the head regresses boxes
    boxes: Tensor  # left, top, right, bottom in pixels
    boxes_wanted: Tensor

    def iou(self) -> Tensor:
        """Overlap (positive,) of each regressed box with its object, differentiable."""
        return bbox_overlaps(self.boxes, self.boxes_wanted, is_aligned=True)


class PerImageHead:
    """What the dense heads share; stands before a head of the host among a class's bases.

    Each image is one group of candidates, over all levels and classes; ignored candidates carry label -1. The loss gets
    the level of each candidate and the overlap of each positive's regressed box with its object, differentiable.

    Args:
        loss_cls: Config of the classification or ranking loss, of scope ``lidar_rank``; it normalises itself.
        prior_prob: Score that every candidate starts with: 0.01 for focal loss, 0.5 for DR loss.
        *args: As the host's.
        **kwargs: As the host's. ``loss_bbox`` is a localization loss of scope ``lidar_rank`` on encoded boxes, or with
            ``reg_decoded_bbox=True`` one of the host on boxes.
    """

    reg_decoded_bbox = False

    def __init__(self, *args, loss_cls: dict, prior_prob: float = 0.01, **kwargs) -> None:
        super().__init__(*args, loss_cls=_SIGMOID_SCORES, **kwargs)
        self.init_cfg["override"]["bias_prob"] = prior_prob
        self.loss_cls = MODELS.build(loss_cls)

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
        """Say of every candidate what the head thinks and what is true, for ``lidar_rank.analysis``.

        Args:
            features: Maps of the neck, (image, channel, y, x) each.
            batch_gt_instances: ``bboxes`` and ``labels`` of each image.
            batch_img_metas: Meta data of each image.
            batch_gt_instances_ignore: ``bboxes`` of each image around which candidates are ignored.
        """
        cls_scores, bbox_preds, *_ = self(features)
        match = self.match(bbox_preds, batch_gt_instances, batch_img_metas, batch_gt_instances_ignore)
        iou = seam.iou_of_candidates(match.iou(), match.positive)
        return seam.Candidates(seam.by_image(cls_scores, self.num_classes).sigmoid(), match.labels, iou)

    def match(
        self, bbox_preds: list[Tensor], objects: list[InstanceData], metas: list[dict], ignored: list | None
    ) -> Match:
        """Give each anchor of each image its object, as the host's assigner does."""
        sizes = [level.shape[-2:] for level in bbox_preds]
        anchors, valid = self.get_anchors(sizes, metas, device=bbox_preds[0].device)
        priors = torch.cat(anchors[0]).expand(len(metas), -1, -1)
        *_, labels, weights, wanted, _, _ = self.get_targets(anchors, valid, objects, metas, ignored)
        labels, weights, wanted = (torch.cat(levels, dim=1) for levels in (labels, weights, wanted))
        labels = labels.masked_fill(weights == 0, -1)
        positive = seam.is_positive(labels, self.num_classes)
        priors, wanted = priors[positive], wanted[positive]
        deltas = seam.by_image(bbox_preds, self.bbox_coder.encode_size)[positive]
        boxes_wanted = wanted if self.reg_decoded_bbox else self.bbox_coder.decode(priors, wanted)
        return Match(labels, positive, deltas, wanted, self.bbox_coder.decode(priors, deltas), boxes_wanted)

    def classification(self, cls_scores: list[Tensor], match: Match) -> Tensor:
        """Classification or ranking loss of all images."""
        return self.loss_cls(
            seam.by_image(cls_scores, self.num_classes),
            match.labels,
            iou=seam.iou_of_candidates(match.iou(), match.positive),
            level=seam.level_of_candidate(cls_scores, self.num_classes),
        )

    def localization(self, match: Match, weight: Tensor | None = None) -> Tensor:
        """Localization loss of all positives; ``weight`` (positive,) is for the host's losses on boxes."""
        if not self.reg_decoded_bbox:
            return self.loss_bbox(match.deltas, match.deltas_wanted, iou=match.iou().detach())
        weight = match.boxes.new_ones(len(match.boxes)) if weight is None else weight
        total = reduce_mean(weight.sum()).clamp(min=1)
        return self.loss_bbox(match.boxes, match.boxes_wanted, weight=weight, avg_factor=total)


@MODELS.register_module()
class PerImageRetinaHead(PerImageHead, RetinaHead):
    """mmdet's ``RetinaHead`` for the losses of the core; see :class:`PerImageHead`."""


@MODELS.register_module()
class PerImageATSSHead(PerImageHead, ATSSHead):
    """mmdet's ``ATSSHead`` for the losses of the core; see :class:`PerImageHead`.

    Centerness is trained as in the host, and weighs a localization loss on boxes.
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
        wanted = self.centerness_target(anchors.expand(len(match.labels), -1, -1)[match.positive], match.boxes_wanted)
        centerness = seam.by_image(centernesses, 1)[match.positive].squeeze(1)
        number = reduce_mean(match.positive.sum().float()).clamp(min=1)
        return {
            "loss_cls": self.classification(cls_scores, match),
            "loss_bbox": self.localization(match, weight=wanted),
            "loss_centerness": self.loss_centerness(centerness, wanted, avg_factor=number),
        }


@MODELS.register_module()
class PerImageSSDHead(PerImageHead, SSDHead):
    """mmdet's ``SSDHead`` for the losses of the core, with one score per class and none for background.

    As in the host, the ``neg_pos_ratio`` hardest background anchors per positive of an image count, the others are
    ignored; without ``train_cfg.neg_pos_ratio`` all count.

    Args:
        loss_cls: As in :class:`PerImageHead`.
        loss_bbox: As in :class:`PerImageHead`.
        prior_prob: Score that every anchor starts with.
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
        """Initialise as the host, then start all scores at ``prior_prob``."""
        super().init_weights()
        for layers in self.cls_convs:
            nn.init.constant_(layers[-1].bias, bias_init_with_prob(self.prior_prob))

    def classification(self, cls_scores: list[Tensor], match: Match) -> Tensor:
        """Classification loss of all images, over the anchors that count."""
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


@MODELS.register_module()
class PerImageFoveaHead(PerImageHead, FoveaHead):
    """mmdet's ``FoveaHead`` for the losses of the core; see :class:`PerImageHead`.

    As in the host, regions to ignore have no effect.
    """

    def match(
        self, bbox_preds: list[Tensor], objects: list[InstanceData], metas: list[dict], ignored: list | None
    ) -> Match:
        """Give each point of each image its object, as the host does."""
        del metas, ignored
        sizes, like = [level.shape[-2:] for level in bbox_preds], bbox_preds[0]
        points = self.prior_generator.grid_priors(sizes, dtype=like.dtype, device=like.device)
        targets = multi_apply(self._get_targets_single, objects, featmap_size_list=sizes, priors_list=points)
        labels, wanted = (
            torch.stack([torch.cat([level.flatten(0, 1) for level in image]) for image in images]) for images in targets
        )
        positive = seam.is_positive(labels, self.num_classes)
        edge = like.new_tensor(self.base_edge_list)[seam.level_of_candidate(bbox_preds, 4)]
        point, edge = torch.cat(points).expand(len(labels), -1, -1)[positive], edge.expand_as(labels)[positive]
        deltas, wanted = seam.by_image(bbox_preds, 4)[positive], wanted[positive]
        everywhere = (math.inf, math.inf)
        boxes, boxes_wanted = (self._bbox_decode(point, encoded, edge, everywhere) for encoded in (deltas, wanted))
        return Match(labels, positive, deltas, wanted, boxes, boxes_wanted)


@MODELS.register_module()
class BalancedBBoxHead(Shared2FCBBoxHead):
    """mmdet's ``Shared2FCBBoxHead`` of Faster R-CNN with a localization loss of the core.

    The loss gets the overlap of each positive's regressed box with its object and normalises itself, by the positives
    where the host divides by all sampled regions. Classification is the host's.

    Args:
        *args: As the host's.
        **kwargs: As the host's. ``loss_bbox`` is a localization loss of scope ``lidar_rank``, on encoded boxes.

    Raises:
        ValueError: ``reg_decoded_bbox`` is asked for.
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
        positive = seam.is_positive(labels, self.num_classes)
        deltas = bbox_pred[positive].float().unflatten(1, (-1, self.bbox_coder.encode_size))
        own_class = torch.zeros_like(labels) if self.reg_class_agnostic else labels
        deltas = deltas[torch.arange(len(deltas), device=deltas.device), own_class[positive]]
        priors, wanted = rois[positive, 1:], bbox_targets[positive]
        boxes, boxes_wanted = self.bbox_coder.decode(priors, deltas), self.bbox_coder.decode(priors, wanted)
        iou = bbox_overlaps(boxes, boxes_wanted, is_aligned=True)
        return {**losses, "loss_bbox": self.loss_bbox(deltas, wanted, iou=iou.detach())}


def check_objects(objects: list[InstanceData], metas: list[dict], num_classes: int) -> None:
    """Refuse boxes and labels that the host would train on in silence.

    A box without area has no overlap with any anchor; the host then makes every anchor that overlaps it as little a
    positive of it. A label beyond the classes counts as background.

    Raises:
        ValueError: a box has no area or is not finite, or a label is not one of the head's classes.
    """
    for image, meta in zip(objects, metas, strict=True):
        boxes, labels = image.bboxes, image.labels
        whole = boxes.isfinite().all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        known = (labels >= 0) & (labels < num_classes)
        if (whole & known).all():
            continue
        name = meta.get("img_path", "an image")
        if not known.all():
            raise ValueError(
                f"{name}: label {labels[~known][0].item()} is not one of the head's {num_classes} classes, 0 to"
                f" {num_classes - 1}: num_classes and the data set's metainfo must name the same classes"
            )
        raise ValueError(
            f"{name}: box {boxes[~whole][0].tolist()} (left, top, right, bottom) has no area inside the image; correct"
            " the label, or leave such boxes out with dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1))"
        )
