"""SA-SSD as a detector of the host, and the change of labels in its training data."""

from typing import NamedTuple

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor

from lidar_rank.mm.registry import MODELS, TRANSFORMS
from lidar_rank.mm.voxelnet import VoxelNet
from lidar_rank.models import sassd

for _module in (sassd.SparseBackbone, sassd.BEVNet, sassd.AuxiliaryNetwork, sassd.PartSensitiveWarping):
    MODELS.register_module(module=_module)


class SASSDFeatures(NamedTuple):
    """Input of the head of SA-SSD for a batch."""

    box_map: Tensor
    """(scan, channel, y, x), for scores and boxes of anchors."""
    part_map: Tensor
    """(scan, channel, y, x), for part-sensitive warping."""
    voxels: Tensor
    """(voxel, 4) integers: scan, z, y, x of the occupied input voxels."""


@MODELS.register_module()
class SASSD(VoxelNet):
    """Structure-aware single-stage detector as its authors built it (mmdet3d's ``SASSD`` is a different network).

    Source: He et al., "Structure Aware Single-stage 3D Object Detection from Point Cloud", CVPR 2020.

    Args:
        auxiliary: Config of the auxiliary network, which adds losses on points in training; None leaves it out.
            Detections do not depend on it.
        **parts: ``voxel_encoder``, ``middle_encoder`` (:class:`lidar_rank.models.sassd.SparseBackbone`), ``backbone``
            (:class:`lidar_rank.models.sassd.BEVNet`), ``bbox_head`` (:class:`SASSDHead`) and the rest as
            ``VoxelNet``'s.
    """

    def __init__(self, *, auxiliary: dict | None = None, **parts) -> None:
        super().__init__(**parts)
        self.auxiliary = MODELS.build(auxiliary) if auxiliary else None

    def extract_feat(self, batch_inputs_dict: dict) -> SASSDFeatures:
        """Input of the head."""
        return self._encode(batch_inputs_dict)[0]

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list, **kwargs) -> dict[str, Tensor]:
        """Losses of the head and, if there is one, of the auxiliary network.

        Raises:
            ValueError: an object is not finite or has a size that is not positive.
        """
        objects = [sample.gt_instances_3d.bboxes_3d.tensor for sample in batch_data_samples]
        features, points, levels = self._encode(batch_inputs_dict)
        losses = self.bbox_head.loss(features, batch_data_samples, **kwargs)
        if self.auxiliary is not None:
            losses |= self.auxiliary.loss(points, levels, objects)
        return losses

    def _encode(self, batch_inputs_dict: dict) -> tuple[SASSDFeatures, Tensor, list[sassd.VoxelLevel]]:
        """Return the head's input, the mean point (scan, x, y, z) of each voxel, and the voxels of each stage."""
        voxels = batch_inputs_dict["voxels"]
        means = self.voxel_encoder(voxels["voxels"], voxels["num_points"], voxels["coors"])
        bev, levels = self.middle_encoder(means, voxels["coors"], len(batch_inputs_dict["points"]))
        points = torch.cat([voxels["coors"][:, :1].to(means.dtype), means[:, :3]], dim=1)
        return SASSDFeatures(*self.backbone(bev), voxels["coors"]), points, levels


@TRANSFORMS.register_module()
class MergeClasses(BaseTransform):
    """Change the labels of some classes. SA-SSD trains on vans as cars in this way, after objects were pasted in.

    Args:
        labels: New label of each label that changes.
    """

    def __init__(self, labels: dict[int, int]) -> None:
        self.labels = labels

    def transform(self, results: dict) -> dict:
        """Change ``gt_labels_3d``."""
        old = results["gt_labels_3d"]
        results["gt_labels_3d"] = np.array([self.labels.get(label, label) for label in old.tolist()], dtype=old.dtype)
        return results
