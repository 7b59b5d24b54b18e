"""Anchor assignment on the CPU, as an assigner that configs of the host can name."""

import numpy as np
import torch
from mmdet.models.task_modules import AssignResult
from mmengine.structures import InstanceData
from torch import Tensor

from lidar_rank.assign import AnchorIndex, assign_anchors
from lidar_rank.mm.registry import TASK_UTILS


@TASK_UTILS.register_module()
class AnchorAssigner:
    """Replacement for mmdet3d's ``Max3DIoUAssigner``: the same result, but only near pairs are compared.

    The anchors are copied to the CPU and sorted at the first call, and again only if they change; later calls copy the
    objects of the scan alone. A config with one assigner per class has one such index per class. Thresholds and rules
    are those of :func:`lidar_rank.assign.assign_anchors`.

    Args:
        pos_iou_thr: Overlap from which an anchor is positive.
        neg_iou_thr: Overlap below which an anchor is background.
        min_pos_iou: Overlap from which an object is matched with its best anchors.
        gt_max_assign_all: An object is matched with all of its best anchors, not only the first.
        overlap: ``"nearest_bev"`` (equal to the host's ``BboxOverlapsNearest3D``), ``"rotated_bev"`` or ``"3d"``.
    """

    def __init__(
        self,
        pos_iou_thr: float,
        neg_iou_thr: float,
        min_pos_iou: float,
        gt_max_assign_all: bool = True,
        overlap: str = "nearest_bev",
    ) -> None:
        self._rules = {
            "pos_iou_thr": pos_iou_thr,
            "neg_iou_thr": neg_iou_thr,
            "min_pos_iou": min_pos_iou,
            "gt_max_assign_all": gt_max_assign_all,
        }
        self._anchors = torch.zeros(0, 7)
        self._index = AnchorIndex(self._anchors, overlap)

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,  # noqa: ARG002 - the host's signature; its configs ignore none
        usable: Tensor | None = None,
    ) -> AssignResult:
        """Match ``pred_instances.priors`` (anchor, 7) with ``gt_instances.bboxes_3d`` (object, 7).

        Args:
            pred_instances: The anchors, ``priors``.
            gt_instances: The objects, ``bboxes_3d`` and ``labels_3d``.
            gt_instances_ignore: Not used.
            usable: Booleans (anchor,); the other anchors are ignored and match no object. None: all are usable.

        Returns:
            ``gt_inds``: 1 + row of the matched object, 0 background, -1 ignored; ``max_overlaps``; ``labels``: class of
            the matched object or -1.

        Raises:
            ValueError: thresholds are out of order; a box is not finite or has a size that is not positive.
        """
        anchors, classes = pred_instances.priors, gt_instances.labels_3d
        objects = gt_instances.bboxes_3d.detach().cpu()
        found = assign_anchors(
            self._index_of(anchors),
            objects,
            np.zeros(len(objects), np.int64),
            num_classes=1,
            usable=None if usable is None else usable.cpu(),
            **self._rules,
        )
        matched = torch.from_numpy(np.where(found.labels < 0, -1, found.matched + 1)).to(anchors.device)
        labels = torch.full_like(matched, -1)
        positive = matched > 0
        labels[positive] = classes[matched[positive] - 1]
        return AssignResult(len(objects), matched, torch.from_numpy(found.overlap).to(anchors.device), labels)

    def _index_of(self, anchors: Tensor) -> AnchorIndex:
        if anchors.shape != self._anchors.shape or not torch.equal(anchors, self._anchors.to(anchors.device)):
            self._anchors = anchors.detach().clone()
            self._index = AnchorIndex(anchors.detach().cpu(), self._index.overlap)
        return self._index
