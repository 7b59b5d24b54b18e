"""The auxiliary point network of SA-SSD, which shapes the voxel features and is used in training only."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lidar_rank.labels import is_object
from lidar_rank.losses import sigmoid_focal_loss, smooth_l1_loss
from lidar_rank.models.sassd.backbone import VoxelLevel
from lidar_rank.models.sassd.interpolation import interpolate
from lidar_rank.models.sassd.targets import EDGE_BELOW_CENTRE, auxiliary_targets


class AuxiliaryNetwork(nn.Module):
    """Predicts whether each point lies in an object, and the offset of the point from the object's centre.

    Voxel features of each level are interpolated at the points, concatenated, and passed through linear layers without
    bias or activation. The network adds losses in training; detections do not depend on it.

    Source: He et al., "Structure Aware Single-stage 3D Object Detection from Point Cloud", CVPR 2020.

    Args:
        voxel_size_m: Size of an input voxel in x, y and z.
        point_cloud_range_m: x_min, y_min, z_min, x_max, y_max, z_max of the voxel grid.
        level_channels: Width of each level.
        hidden_channels: Width between the linear layers.
        centre: Height of an object's centre above its bottom: ``"half_height"``, or ``"half_width"`` as in the
            authors' code.

    Raises:
        ValueError: ``centre`` is unknown.
    """

    def __init__(
        self,
        voxel_size_m: Sequence[float],
        point_cloud_range_m: Sequence[float],
        level_channels: Sequence[int] = (32, 64, 64),
        hidden_channels: int = 64,
        centre: str = "half_height",
    ) -> None:
        super().__init__()
        if centre not in EDGE_BELOW_CENTRE:
            raise ValueError(f"centre must be one of {tuple(EDGE_BELOW_CENTRE)}, got {centre!r}")
        self.centre = centre
        self.voxel_size_m, self.origin_m = tuple(voxel_size_m), tuple(point_cloud_range_m[:3])
        self.hidden = nn.Linear(sum(level_channels), hidden_channels, bias=False)
        self.foreground = nn.Linear(hidden_channels, 1, bias=False)
        self.offset = nn.Linear(hidden_channels, 3, bias=False)

    def forward(
        self, points: Float[Tensor, "point 4"], levels: Sequence[VoxelLevel]
    ) -> tuple[Float[Tensor, " point"], Float[Tensor, "point 3"]]:
        """Return a logit that each point lies in an object, and its offset from the object's centre in metres.

        Args:
            points: Scan, x, y, z, in metres.
            levels: Of the sparse backbone.
        """
        with torch.autocast(points.device.type, enabled=False):
            read = [
                interpolate(points, self.voxel_centres(level), level.features.float(), self._size_m(level))
                for level in levels
            ]
            hidden = self.hidden(torch.cat(read, dim=1))
            return self.foreground(hidden).squeeze(1), self.offset(hidden)

    def voxel_centres(self, level: VoxelLevel) -> Float[Tensor, "voxel 4"]:
        """Scan, x, y and z of the centre of each voxel, in metres."""
        # One axis after the other: a list of three numbers would be copied to the device, which waits for it.
        columns = [
            (level.indices[:, axis] + 0.5) * size + origin
            for axis, size, origin in zip((3, 2, 1), self._size_m(level), self.origin_m, strict=True)
        ]
        return torch.stack([level.indices[:, 0].to(columns[0].dtype), *columns], dim=1)

    def _size_m(self, level: VoxelLevel) -> list[float]:
        return [size * level.stride for size in self.voxel_size_m]

    def loss(
        self,
        points: Float[Tensor, "point 4"],
        levels: Sequence[VoxelLevel],
        objects: Sequence[Float[Tensor, "object 7"]],
    ) -> dict[str, Float[Tensor, ""]]:
        """Focal loss of the foreground and smooth L1 of the offsets.

        Both are divided by the number of foreground points of the batch, and by the number of scans.

        Args:
            points: Scan, x, y, z, in metres.
            levels: Of the sparse backbone.
            objects: Boxes of each scan.

        Raises:
            ValueError: a box is not finite or has a negative size.
        """
        logits, offsets_m = self(points, levels)
        labels, targets_m = auxiliary_targets(points, objects, self.centre)
        (inside,) = is_object(labels, 1).nonzero(as_tuple=True)  # one look-up, for each by a mask waits for the device
        foreground = sigmoid_focal_loss(logits[None, :, None], labels[None])
        centre = smooth_l1_loss(offsets_m[inside], targets_m[inside])
        scans = max(len(objects), 1)
        return {"loss_aux_foreground": foreground / scans, "loss_aux_centre": centre / scans}
