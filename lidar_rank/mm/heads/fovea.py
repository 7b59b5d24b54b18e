"""FoveaBox's head, with losses that know which image each candidate belongs to."""

import math

import torch
from mmdet.models.dense_heads import FoveaHead
from mmdet.models.utils import multi_apply
from mmengine.structures import InstanceData
from torch import Tensor

from lidar_rank.labels import is_object
from lidar_rank.mm import seam
from lidar_rank.mm.heads.per_image import Match, PerImageHead, paired_iou
from lidar_rank.mm.registry import MODELS


@MODELS.register_module()
class PerImageFoveaHead(PerImageHead, FoveaHead):
    """mmdet's ``FoveaHead`` with the losses of the core; see :class:`PerImageHead`.

    As in the host, regions to ignore have no effect.
    """

    def match(
        self, bbox_preds: list[Tensor], objects: list[InstanceData], metas: list[dict], ignored: list | None
    ) -> Match:
        """Match the points of each image with its objects, as the host does."""
        del metas, ignored
        sizes, like = [level.shape[-2:] for level in bbox_preds], bbox_preds[0]
        points = self.prior_generator.grid_priors(sizes, dtype=like.dtype, device=like.device)
        targets = multi_apply(self._get_targets_single, objects, featmap_size_list=sizes, priors_list=points)
        labels, delta_targets = (
            torch.stack([torch.cat([level.flatten(0, 1) for level in image]) for image in images]) for images in targets
        )
        positive = is_object(labels, self.num_classes)
        place = positive.nonzero(as_tuple=True)
        edges = [like.new_full((len(level),), edge) for level, edge in zip(points, self.base_edge_list, strict=True)]
        point, edge = torch.cat(points)[place[1]], torch.cat(edges)[place[1]]
        deltas, delta_targets = seam.by_image(bbox_preds, 4)[place], delta_targets[place]
        everywhere = (math.inf, math.inf)
        boxes, box_targets = (
            self._bbox_decode(point, encoded, edge, everywhere) for encoded in (deltas, delta_targets)
        )
        return Match(labels, positive, place, deltas, delta_targets, boxes, box_targets, paired_iou(boxes, box_targets))
