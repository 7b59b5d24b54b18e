"""The anchor head of voxel detectors, with losses that know which image each anchor belongs to."""

import math
from typing import NamedTuple

import torch
from mmdet.utils import reduce_mean
from mmdet3d.models.dense_heads import Anchor3DHead
from mmengine.config import ConfigDict
from torch import Tensor

from lidar_rank.convolutions import apply_together
from lidar_rank.geometry import paired_iou_3d
from lidar_rank.geometry.tensors import check_boxes
from lidar_rank.labels import is_object
from lidar_rank.mm import seam
from lidar_rank.mm.heads.iou_branch import IoUBranch
from lidar_rank.mm.registry import MODELS

# The host's constructor decides by the type of the loss whether to sample anchors and whether scores are sigmoids.
_UNSAMPLED_SIGMOID = {"type": "mmdet.FocalLoss", "use_sigmoid": True}
MAX_LOG_RATIO = math.log(1000 / 16)  # of a decoded size and the anchor's, as in mmdet's coder of 2D boxes


@MODELS.register_module()
class PerImageAnchor3DHead(Anchor3DHead):
    """mmdet3d's ``Anchor3DHead`` with the losses of the core.

    The candidates of an image, over all levels and classes, are one group; ignored anchors have label -1. The loss also
    gets the rotated 3D IoU of each positive's regressed box with its object, which is differentiable. Options are the
    host's; ``loss_cls`` and ``loss_bbox`` are losses of scope ``lidar_rank``, which normalise themselves. Each loss is
    called once per batch, whatever the batch holds.

    Args:
        loss_cls: Config of the classification or ranking loss.
        iou_branch: Options of :class:`IoUBranch`, without the numbers of channels and anchors; None is a head without.
        prior_prob: Score of every anchor before training: 0.01 for focal loss, 0.5 for losses that only compare scores.
        *args: As the host's.
        **kwargs: As the host's.
    """

    def __init__(
        self, *args, loss_cls: dict, iou_branch: dict | None = None, prior_prob: float = 0.01, **kwargs
    ) -> None:
        super().__init__(*args, loss_cls=_UNSAMPLED_SIGMOID, **kwargs)
        self.iou_branch = None if iou_branch is None else IoUBranch(self.feat_channels, self.num_anchors, **iou_branch)
        self.init_cfg["override"]["bias_prob"] = prior_prob
        self.loss_cls = MODELS.build(loss_cls)
        for name, unweighted in (("code_weight", None), ("pos_weight", -1)):
            if self.train_cfg and self.train_cfg.get(name, unweighted) != unweighted:
                raise ValueError(
                    f"train_cfg.{name} must be {unweighted}: losses of scope lidar_rank take no weights, got"
                    f" {self.train_cfg[name]}"
                )

    def forward_single(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps of a level, as the host's; those of the IoU branch, if there is one, come last."""
        layers = [self.conv_cls, self.conv_reg]
        layers += [self.conv_dir_cls] if self.use_direction_classifier else []
        layers += [self.iou_branch.conv] if self.iou_branch is not None else []
        maps = list(apply_together(layers, x))
        if not self.use_direction_classifier:
            maps.insert(2, None)
        return tuple(maps)

    def loss_by_feat(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor], dir_cls_preds: list[Tensor], *inputs
    ) -> dict[str, Tensor]:
        """Losses of a batch; arguments as the host's, after the maps of the IoU branch if there is one.

        Raises:
            ValueError: an object is not finite, has a size that is not positive, or is of a class that the head lacks.
        """
        iou_preds, *inputs = inputs if self.iou_branch is not None else (None, *inputs)
        found = self._match(cls_scores, bbox_preds, *inputs)
        iou = seam.iou_of_candidates(found.iou, found.place, found.labels.shape)
        level = seam.level_of_candidate(cls_scores, self.num_classes)
        losses = {
            "loss_cls": self.loss_cls(found.logits, found.labels, iou=iou, level=level),
            "loss_bbox": self._localization(found),
        }
        if self.use_direction_classifier:
            losses["loss_dir"] = self._direction(found, seam.by_image(dir_cls_preds, 2)[found.place])
        if self.iou_branch is not None:
            losses["loss_iou"] = self.iou_branch.loss(iou_preds, found.place, found.iou)
        return losses

    def predict_by_feat(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor], dir_cls_preds: list[Tensor], *iou_preds, **named
    ) -> list:
        """Detections of a batch; arguments as the host's, after the maps of the IoU branch if there is one."""
        if self.iou_branch is not None:
            cfg = named.get("cfg") or self.test_cfg
            cls_scores = self.iou_branch.rectified(cls_scores, *iou_preds, cfg.get("score_thr", 0.0))
            named["cfg"] = ConfigDict(cfg, score_thr=0.0)
        return super().predict_by_feat(cls_scores, bbox_preds, dir_cls_preds, **named)

    def _localization(self, found: "Matches") -> Tensor:
        return self.loss_bbox(*self._angle_by_sine(*found.deltas), iou=found.iou.detach(), boxes=found.boxes)

    def _direction(self, found: "Matches", logits: Tensor) -> Tensor:
        # Averaged over ranks, as the normalisers of the core's losses are.
        number = reduce_mean(logits.new_full((), len(logits))).clamp(min=1)
        return self.loss_dir(logits, found.directions, avg_factor=number)

    @torch.no_grad()
    def candidates(
        self, features: list[Tensor], batch_gt_instances_3d: list, batch_input_metas: list[dict]
    ) -> seam.Candidates:
        """Return score, label and overlap of every anchor, for ``lidar_rank.analysis``.

        Args:
            features: Maps of the neck, (image, channel, y, x) each.
            batch_gt_instances_3d: ``bboxes_3d`` and ``labels_3d`` of each image.
            batch_input_metas: Meta data of each image.

        Raises:
            ValueError: an object is not finite or has a size that is not positive.
        """
        cls_scores, bbox_preds, _, *iou_preds = self(features)
        found = self._match(cls_scores, bbox_preds, batch_gt_instances_3d, batch_input_metas)
        iou = seam.iou_of_candidates(found.iou, found.place, found.labels.shape)
        scores = found.logits.sigmoid()
        if self.iou_branch is not None:
            scores = scores * self.iou_branch.factor(seam.by_image(*iou_preds, 1))
        return seam.Candidates(scores, found.labels, iou)

    def _match(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        objects: list,
        metas: list[dict],
        ignored: list | None = None,
    ) -> "Matches":
        _check_objects(objects, metas, self.num_classes)
        anchors, labels, box_targets, directions = self._targets(cls_scores, objects, metas, ignored)
        # Looked up once: each look-up by a mask would wait for the device.
        positive = is_object(labels, self.num_classes)
        place = positive.nonzero(as_tuple=True)
        deltas = seam.by_image(bbox_preds, self.box_code_size)[place], box_targets[place]
        boxes = tuple(self.bbox_coder.decode(anchors[place[1]], _with_limited_sizes(side)) for side in deltas)
        logits = seam.by_image(cls_scores, self.num_classes)
        return Matches(logits, labels, positive, place, deltas, boxes, directions[place], paired_iou_3d(*boxes))

    def _targets(self, cls_scores: list[Tensor], objects: list, metas: list[dict], ignored: list | None) -> tuple:
        """Return anchors (candidate, 7), then labels, encoded boxes and directions (image, candidate, ...)."""
        sizes = [level.shape[-2:] for level in cls_scores]
        anchors_of_images = self.get_anchors(sizes, metas, device=cls_scores[0].device)
        anchors = torch.cat([level.reshape(-1, self.box_code_size) for level in anchors_of_images[0]])
        labels, label_weights, boxes, _, directions, *_ = self.anchor_target_3d(
            anchors_of_images, objects, metas, ignored, num_classes=self.num_classes, sampling=False
        )
        labels, label_weights, boxes, directions = (
            torch.cat(levels, dim=1) for levels in (labels, label_weights, boxes, directions)
        )
        return anchors, labels.masked_fill(label_weights == 0, -1), boxes, directions

    def _angle_by_sine(self, deltas: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self.add_sin_difference(deltas, targets) if self.diff_rad_by_sin else (deltas, targets)


class Matches(NamedTuple):
    """Predictions and training targets of the anchors of a batch."""

    logits: Tensor  # (image, candidate, class)
    labels: Tensor  # (image, candidate)
    positive: Tensor  # (image, candidate)
    place: tuple[Tensor, Tensor]  # (positive,) each: image and candidate of each positive
    deltas: tuple[Tensor, Tensor]  # (positive, 7) each: predicted, target
    boxes: tuple[Tensor, Tensor]  # (positive, 7) each: the deltas decoded, the first differentiable
    directions: Tensor  # (positive,), targets
    iou: Tensor  # (positive,), overlap of the regressed boxes with their objects, differentiable


def _with_limited_sizes(deltas: Tensor) -> Tensor:
    """Limit the logarithms of sizes (positive, 7), whose exponentials overflow, and then have no gradient but NaN."""
    return torch.cat([deltas[:, :3], deltas[:, 3:6].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO), deltas[:, 6:]], 1)


def _check_objects(objects: list, metas: list[dict], num_classes: int) -> None:
    """Refuse objects that no assigner can match, or of a class that the head lacks, which would count as background.

    The host would train on them without a warning.
    """
    for instances, meta in zip(objects, metas, strict=True):
        name = meta.get("lidar_path", "a scan without a path")
        boxes = instances.bboxes_3d if isinstance(instances.bboxes_3d, Tensor) else instances.bboxes_3d.tensor
        check_boxes(boxes, f"{name}: objects")
        seam.check_labels(instances.labels_3d, num_classes, name)
