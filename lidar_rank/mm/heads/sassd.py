"""The head of SA-SSD: scores of the anchors on occupied ground, and confidences of the boxes that they propose."""

import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Final, NamedTuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lidar_rank import devices
from lidar_rank.geometry import nms_bev
from lidar_rank.geometry.boxes import wrap_angle
from lidar_rank.geometry.paired_iou import bev_of
from lidar_rank.losses import GHMRLoss
from lidar_rank.mm import seam
from lidar_rank.mm.assigner import AnchorAssigner
from lidar_rank.mm.heads.anchor3d import Matches, PerImageAnchor3DHead
from lidar_rank.mm.ops.boxes import pairwise_iou
from lidar_rank.mm.ops.nms import suppress
from lidar_rank.mm.registry import MODELS
from lidar_rank.mm.sassd import SASSDFeatures
from lidar_rank.models.sassd import OccupiedAnchors, confidence_targets

# Scores of detections, from the confidences of their boxes and the scores of their anchors.
_RANKED_BY: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "confidence": lambda confidence, _: confidence,
    "anchor": lambda _, score: score,
    "both": lambda confidence, score: (confidence * score).sqrt(),
}


class _Proposals(NamedTuple):
    """Decoded boxes of one scan whose anchors score above the threshold."""

    boxes: Tensor  # (proposal, 7)
    labels: Tensor  # (proposal,)
    scores: Tensor  # (proposal,), of their anchors
    factor: Tensor  # (proposal,), of the confidence: what the IoU branch says, 1 without one


@MODELS.register_module()
class SASSDHead(PerImageAnchor3DHead):
    """Head of SA-SSD: anchors that score well become proposals, and part-sensitive warping gives their confidence.

    Only anchors with more than one occupied voxel column under them take part in training and testing. Proposals are
    the decoded boxes of anchors that score above a threshold; in training the objects are added to them. The gradient
    of a proposal's confidence reaches the box regression. A proposal is positive if it overlaps an object by at least
    0.7 in 3D or is the best proposal of an object. With an IoU branch a proposal's confidence is multiplied with what
    the branch predicts for its anchor, after the threshold of the confidence.

    The authors average box and direction losses over the positives of each scan and then over the scans. Each loss is
    called once per batch all the same, because losses may keep state from call to call: ``loss_bbox`` is averaged in
    this way if it gives one value per positive (``reduction="none"``), and taken as it is if it gives the loss of the
    batch. GHM-R gives the loss of the batch: its values per positive are normalised over the batch already.

    Source: He et al., "Structure Aware Single-stage 3D Object Detection from Point Cloud", CVPR 2020.

    Args:
        point_cloud_range: x_min, y_min, z_min, x_max, y_max, z_max of the voxel grid, in metres.
        voxel_size: Size of an input voxel in x, y and z, in metres.
        part_warping: Config of :class:`lidar_rank.models.sassd.PartSensitiveWarping`.
        loss_part: Config of the loss of the confidences, one row per scan; it is divided by the number of scans.
        proposal_score_thr: Score above which an anchor's box is a proposal.
        min_proposals: Number of anchors of a scan, the best ones, whose boxes are proposals in training whatever they
            score, so that the confidence learns while the anchors' scores are low.
        prior_prob: Score of every anchor before training; None keeps torch's own initialisation, as the authors do.
        test_cfg: ``score_thr`` of the confidence; ``nms_thr``, the overlap seen from above of boxes of one class; and
            ``ranked_by``, the score of a detection: ``"confidence"`` as the authors do, ``"anchor"``, or ``"both"``,
            the geometric mean of the two.
        *args: As :class:`PerImageAnchor3DHead`.
        **kwargs: As :class:`PerImageAnchor3DHead`.

    Raises:
        ValueError: ``use_direction_classifier`` is False, an assigner is not :class:`AnchorAssigner`, ``loss_bbox`` is
            GHM-R with ``reduction="none"``, or ``test_cfg.ranked_by`` is unknown.
    """

    def __init__(
        self,
        *args,
        point_cloud_range: list[float],
        voxel_size: list[float],
        part_warping: dict,
        loss_part: dict,
        proposal_score_thr: float = 0.1,
        min_proposals: int = 0,
        prior_prob: float | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not self.use_direction_classifier:
            raise ValueError("SASSDHead turns its proposals by their direction: use_direction_classifier must be True")
        assigners = getattr(self, "bbox_assigner", [])
        for assigner in assigners if isinstance(assigners, list) else [assigners]:
            if not isinstance(assigner, AnchorAssigner):
                raise ValueError(
                    "SASSDHead assigns objects among occupied anchors only, for which train_cfg.assigner must be"
                    f" lidar_rank.AnchorAssigner, got {type(assigner).__name__}"
                )
        if isinstance(self.loss_bbox, GHMRLoss) and self.loss_bbox.options.get("reduction") == "none":
            raise ValueError(
                "loss_bbox: the values of GHMRLoss are normalised over the batch, and SASSDHead would average them over"
                ' each scan again: leave out reduction="none"'
            )
        self.init_cfg, self.prior_prob = None, prior_prob
        self.proposal_score_thr, self.min_proposals = proposal_score_thr, min_proposals
        ranked_by = (self.test_cfg or {}).get("ranked_by", "confidence")
        if ranked_by not in _RANKED_BY:
            raise ValueError(f"test_cfg.ranked_by must be one of {', '.join(_RANKED_BY)}, got {ranked_by!r}")
        self._score = _RANKED_BY[ranked_by]
        self.part_warping, self.loss_part = MODELS.build(part_warping), MODELS.build(loss_part)
        self._grid = {"voxel_size_m": voxel_size, "point_cloud_range_m": point_cloud_range}
        self._anchors_of: dict[tuple[tuple[int, int], torch.device], Tensor] = {}
        self._occupied_anchors: dict[tuple[int, int], OccupiedAnchors] = {}

    def init_weights(self) -> None:
        """Make all scores start at ``prior_prob``, if it is given."""
        super().init_weights()
        if self.prior_prob is not None:
            nn.init.constant_(self.conv_cls.bias, math.log(self.prior_prob / (1 - self.prior_prob)))

    def forward(self, x: SASSDFeatures) -> tuple[list[Tensor], ...]:
        """Scores, boxes and directions of all anchors, as the host's."""
        return super().forward([x.box_map])

    def loss(self, x: SASSDFeatures, batch_data_samples: list) -> dict[str, Tensor]:
        """Losses of anchors and proposals.

        Raises:
            ValueError: an object is not finite or has a size that is not positive.
        """
        objects = [sample.gt_instances_3d for sample in batch_data_samples]
        boxes = [own.bboxes_3d.tensor for own in objects]
        metas = self._with_occupied(x, [sample.metainfo for sample in batch_data_samples])
        outs = self(x)
        losses = self.loss_by_feat(*outs, objects, metas)
        proposals = [found.boxes for found in self._proposals(outs, metas, self.min_proposals)]
        losses["loss_part"] = self._loss_of_parts(x.part_map, proposals, boxes)
        return losses

    def _localization(self, found: Matches) -> Tensor:
        loss = super()._localization(found)
        return (loss * _share_of_positives(found)).sum() if loss.ndim else loss

    def _direction(self, found: Matches, logits: Tensor) -> Tensor:
        return self.loss_dir(logits, found.directions, weight=_share_of_positives(found), avg_factor=1)

    def candidates(
        self, features: SASSDFeatures, batch_gt_instances_3d: list, batch_input_metas: list[dict]
    ) -> seam.Candidates:
        """As :meth:`PerImageAnchor3DHead.candidates`; anchors on ground that is not occupied are ignored."""
        return super().candidates(features, batch_gt_instances_3d, self._with_occupied(features, batch_input_metas))

    @torch.no_grad()
    def predict(self, x: SASSDFeatures, batch_data_samples: list, rescale: bool = False) -> list[InstanceData]:  # noqa: ARG002 - the host's signature
        """Detections of each scan, best first within a class."""
        metas = self._with_occupied(x, [sample.metainfo for sample in batch_data_samples])
        proposals = self._proposals(self(x), metas)
        logits = self.part_warping(x.part_map, [found.boxes for found in proposals])
        return [
            self._detections(found, own.sigmoid(), meta)
            for found, own, meta in zip(proposals, logits, metas, strict=True)
        ]

    def _detections(self, proposals: _Proposals, confidence: Tensor, meta: dict) -> InstanceData:
        kept, scores = [], self._score(confidence, proposals.scores) * proposals.factor
        for label in range(self.num_classes):
            rows = ((confidence > self.test_cfg.score_thr) & (proposals.labels == label)).nonzero().squeeze(1)
            kept.append(rows[_best_boxes(bev_of(proposals.boxes[rows]), scores[rows], self.test_cfg.nms_thr)])
        rows = torch.cat(kept)
        return InstanceData(
            bboxes_3d=meta["box_type_3d"](proposals.boxes[rows], box_dim=self.box_code_size),
            scores_3d=scores[rows],
            labels_3d=proposals.labels[rows],
        )

    def _with_occupied(self, x: SASSDFeatures, metas: list[dict]) -> list[dict]:
        """Add to the meta data of each scan which anchors (anchor,) are on occupied ground, as ``occupied``."""
        size = tuple(x.box_map.shape[-2:])
        if size not in self._occupied_anchors:
            self._occupied_anchors[size] = OccupiedAnchors(self._anchors(size, "cpu"), **self._grid)
        masks = self._occupied_anchors[size].of_batch(x.voxels, len(metas))
        return [{**meta, "occupied": mask} for meta, mask in zip(metas, masks, strict=True)]

    def _anchors(self, size: tuple[int, int], device: torch.device | str) -> Tensor:
        """Anchors (anchor, 7) of a map; made once, because the host copies their sizes to the device each time."""
        key = (size, torch.device(device))
        if key not in self._anchors_of:
            (anchors,) = self.prior_generator.grid_anchors([size], device=device)
            self._anchors_of[key] = anchors.reshape(-1, self.box_code_size)
        return self._anchors_of[key]

    def _targets(self, cls_scores: list[Tensor], objects: list, metas: list[dict], ignored: list | None) -> tuple:
        """As the host's, among occupied anchors; the others are ignored."""
        anchors, labels, boxes, directions = super()._targets(cls_scores, objects, metas, ignored)
        # The host does not call the assigner for a scan without objects.
        occupied = torch.stack([meta["occupied"] for meta in metas])
        return anchors, labels.masked_fill(~occupied, -1), boxes, directions

    def anchor_target_single_assigner(
        self,
        bbox_assigner: AnchorAssigner,
        anchors: Tensor,
        gt_instance_3d: InstanceData,
        gt_instance_ignore: InstanceData | None,
        input_meta: dict,
        *args,
    ) -> tuple:
        """As the host's, with the occupied ones among ``anchors`` passed to the assigner."""
        occupied = input_meta["occupied"]
        if isinstance(self.bbox_assigner, list):  # one assigner per anchor size
            sizes = len(self.bbox_assigner)
            occupied = occupied.view(-1, sizes, self.num_anchors // sizes)[:, self.bbox_assigner.index(bbox_assigner)]
        masked = SimpleNamespace(assign=partial(bbox_assigner.assign, usable=occupied.flatten()))
        return super().anchor_target_single_assigner(
            masked, anchors, gt_instance_3d, gt_instance_ignore, input_meta, *args
        )

    def _proposals(self, outs: tuple[list[Tensor], ...], metas: list[dict], at_least: int = 0) -> list[_Proposals]:
        """Return the decoded boxes of the occupied anchors of each scan that score above the threshold or best."""
        cls_scores, bbox_preds, dir_cls_preds, *iou_preds = outs
        scores, labels = seam.by_image(cls_scores, self.num_classes).sigmoid().max(-1)
        deltas = seam.by_image(bbox_preds, self.box_code_size)
        directions = seam.by_image(dir_cls_preds, 2).argmax(-1)
        anchors = self._anchors(tuple(cls_scores[0].shape[-2:]), scores.device)
        factor = torch.ones_like(scores)
        if self.iou_branch is not None:
            factor = self.iou_branch.factor(seam.by_image(*iou_preds, 1)).squeeze(2)
        with torch.no_grad():
            boxes = self.bbox_coder.decode(anchors.expand_as(deltas), deltas)
            # Early in training exp() of a size sometimes overflows: such a box has no place. It must not be decoded
            # with a gradient, which would be NaN.
            valid = boxes.isfinite().all(2) & (boxes[..., 3:6] > 0).all(2)
            occupied = torch.stack([meta["occupied"] for meta in metas])
            usable = scores.detach().masked_fill(~(occupied & valid), -1)
            proposed = usable > self.proposal_score_thr
            if at_least:
                last = usable.topk(min(at_least, usable.shape[1])).values[:, -1:]
                proposed |= (usable >= last) & (usable >= 0)
            scan, row = proposed.nonzero(as_tuple=True)
            number = proposed.sum(1).tolist()
        boxes = self._facing(self.bbox_coder.decode(anchors[row], deltas[scan, row]), directions[scan, row])
        parts = (part.split(number) for part in (boxes, labels[scan, row], scores[scan, row], factor[scan, row]))
        return [_Proposals(*one) for one in zip(*parts, strict=True)]

    def _facing(self, boxes: Tensor, directions: Tensor) -> Tensor:
        """Turn the boxes into the half circle that the direction classifier predicts."""
        yaw = wrap_angle(boxes[:, 6], self.dir_offset - self.dir_limit_offset * math.pi, math.pi)
        return torch.cat([boxes[:, :6], (yaw + math.pi * directions)[:, None]], dim=1)

    def _loss_of_parts(self, part_map: Tensor, proposals: list[Tensor], objects: list[Tensor]) -> Tensor:
        """Loss of the confidences of proposals and objects."""
        boxes = [torch.cat([own.to(found), found]) for own, found in zip(objects, proposals, strict=True)]
        logits = self.part_warping(part_map, boxes)
        targets = [confidence_targets(*pair) for pair in zip(boxes, objects, strict=True)]
        labels, overlaps = zip(*targets, strict=True)
        return self.loss_part(
            pad_sequence(logits, batch_first=True)[..., None],
            pad_sequence(labels, batch_first=True, padding_value=-1),
            iou=pad_sequence(overlaps, batch_first=True),
        ) / len(boxes)


def _share_of_positives(found: Matches) -> Tensor:
    """Weight (positive,) of each positive in a mean over the positives of each scan and then over the scans."""
    share = 1 / (len(found.positive) * found.positive.sum(1).clamp(min=1))
    return share[found.place[0]]


def _best_boxes(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Rows (kept,) of the boxes (box, 5) that overlap no better kept box by more than the threshold, best first."""
    if devices.on_cpu(boxes):
        return torch.from_numpy(nms_bev(boxes.numpy(), scores.numpy(), iou_threshold))
    order = scores.argsort(descending=True, stable=True)
    best_first = boxes[order].double()
    return order[suppress(pairwise_iou(best_first, best_first) > iou_threshold)]
