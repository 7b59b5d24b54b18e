"""The voxel detector of the host, for batches in which some scans have no points in range."""

from mmcv.cnn.bricks import wrappers
from mmdet3d.models import detectors
from torch import Tensor

from lidar_rank.convolutions import speed_up
from lidar_rank.mm.registry import MODELS


@MODELS.register_module()
class VoxelNet(detectors.VoxelNet):
    """mmdet3d's ``VoxelNet`` (SECOND, PointPillars) for batches in which scans may have no points in range.

    mmdet3d 1.4.0 takes the number of scans from the last voxel of the batch. It stops with an error if there is none,
    and counts too few scans if the last scan has none. Here the number is that of the point clouds, and a scan without
    voxels has no detections.
    """

    def __init__(self, **parts) -> None:
        super().__init__(**parts)
        speed_up(self, wrappers.Conv2d, wrappers.ConvTranspose2d)

    def extract_feat(self, batch_inputs_dict: dict) -> tuple[Tensor, ...]:
        """Feature maps of the neck, (scan, channel, y, x) each."""
        voxels = batch_inputs_dict["voxels"]
        features = self.voxel_encoder(voxels["voxels"], voxels["num_points"], voxels["coors"])
        bev = self.middle_encoder(features, voxels["coors"], len(batch_inputs_dict["points"]))
        maps = self.backbone(bev)
        return self.neck(maps) if self.with_neck else maps

    def predict(self, batch_inputs_dict: dict, batch_data_samples: list, **kwargs) -> list:
        """Detections of each scan, none for a scan without voxels; arguments as the host's."""
        samples = super().predict(batch_inputs_dict, batch_data_samples, **kwargs)
        seen = set(batch_inputs_dict["voxels"]["coors"][:, 0].unique().tolist())
        for scan, sample in enumerate(samples):
            if scan not in seen:
                sample.pred_instances_3d = sample.pred_instances_3d[:0]
        return samples
