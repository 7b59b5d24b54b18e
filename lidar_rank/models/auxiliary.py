"""The auxiliary point network of SA-SSD: it teaches voxel features what objects look like; detection needs it not."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lidar_rank.geometry import points_in_boxes
from lidar_rank.losses import sigmoid_focal_loss, smooth_l1_loss
from lidar_rank.models.interpolation import interpolate
from lidar_rank.models.sparse_backbone import VoxelLevel

_EDGE_BELOW_CENTRE = {"half_height": 5, "half_width": 4}


class AuxiliaryNetwork(nn.Module):
    """Asks of every point whether it lies in an object and how far from the object's centre, from voxel features alone.

    Voxel features of each level are interpolated at the points, joined, and read by linear layers without bias; nothing
    lies between these. It adds losses in training and nothing else: detection does not use it.

    Source: He et al., "Structure Aware Single-stage 3D Object Detection from Point Cloud", CVPR 2020.

    Args:
        voxel_size_m: Size of an input voxel in x, y and z.
        point_cloud_range_m: x_min, y_min, z_min, x_max, y_max, z_max of the voxel grid.
        level_channels: Width of each level.
        hidden_channels: Width between the linear layers.
        centre: Height of an object's centre above its bottom: ``"half_height"``, or ``"half_width"``, which the
            authors' code takes.

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
        if centre not in _EDGE_BELOW_CENTRE:
            raise ValueError(f"centre must be one of {tuple(_EDGE_BELOW_CENTRE)}, got {centre!r}")
        self.centre = centre
        self.voxel_size_m, self.origin_m = tuple(voxel_size_m), tuple(point_cloud_range_m[:3])
        self.hidden = nn.Linear(sum(level_channels), hidden_channels, bias=False)
        self.foreground = nn.Linear(hidden_channels, 1, bias=False)
        self.offset = nn.Linear(hidden_channels, 3, bias=False)

    def forward(
        self, points: Float[Tensor, "point 4"], levels: Sequence[VoxelLevel]
    ) -> tuple[Float[Tensor, " point"], Float[Tensor, "point 3"]]:
        """Logits of lying in an object, and the way from the object's centre to the point in metres.

        Args:
            points: Scan, x, y, z, in metres.
            levels: Of the sparse backbone.
        """
        with torch.autocast(points.device.type, enabled=False):
            read = [interpolate(points, self.voxel_centres(level), level.features.float()) for level in levels]
            hidden = self.hidden(torch.cat(read, dim=1))
            return self.foreground(hidden).squeeze(1), self.offset(hidden)

    def voxel_centres(self, level: VoxelLevel) -> Float[Tensor, "voxel 4"]:
        """Scan, x, y, z of the centre of each voxel, in metres."""
        size = level.features.new_tensor(self.voxel_size_m) * level.stride
        origin = level.features.new_tensor(self.origin_m)
        centres = (level.indices[:, [3, 2, 1]] + 0.5) * size + origin
        return torch.cat([level.indices[:, :1].to(centres.dtype), centres], dim=1)

    def loss(
        self,
        points: Float[Tensor, "point 4"],
        levels: Sequence[VoxelLevel],
        objects: Sequence[Float[Tensor, "object 7"]],
    ) -> dict[str, Float[Tensor, ""]]:
        """Focal loss of the foreground and smooth L1 of the offsets.

        Both are over the number of foreground points of the batch, then over the number of scans.

        Args:
            points: Scan, x, y, z, in metres.
            levels: Of the sparse backbone.
            objects: Boxes of each scan.

        Raises:
            ValueError: a box is not finite or has a negative size.
        """
        logits, offsets_m = self(points, levels)
        labels, wanted_m = auxiliary_targets(points, objects, self.centre)
        inside = labels == 0
        foreground = sigmoid_focal_loss(logits[None, :, None], labels[None])
        centre = smooth_l1_loss(offsets_m[inside], wanted_m[inside])
        scans = max(len(objects), 1)
        return {"loss_aux_foreground": foreground / scans, "loss_aux_centre": centre / scans}


@torch.no_grad()
def auxiliary_targets(
    points: Float[Tensor, "point 4"], objects: Sequence[Float[Tensor, "object 7"]], centre: str = "half_height"
) -> tuple[Int[Tensor, " point"], Float[Tensor, "point 3"]]:
    """What each point is to learn.

    Args:
        points: Scan, x, y, z, in metres.
        objects: Boxes of each scan.
        centre: As in :class:`AuxiliaryNetwork`.

    Returns:
        Labels, 0 in an object and 1 for background, and the way from the object's centre to the point in metres, 0 for
        background. Of several objects around a point the last counts.

    Raises:
        ValueError: a box is not finite or has a negative size.
    """
    labels = torch.ones(len(points), dtype=torch.int64, device=points.device)
    offsets_m = torch.zeros(len(points), 3, device=points.device)
    for scan, boxes in enumerate(objects):
        here = (points[:, 0] == scan).nonzero().squeeze(1)
        position_m = points[here, 1:].float()
        inside = torch.from_numpy(points_in_boxes(position_m.cpu().numpy(), boxes.cpu().numpy())).to(points.device)
        order = torch.arange(1, len(boxes) + 1, device=points.device)
        last = (inside * order[:, None]).amax(0) - 1 if len(boxes) else labels.new_full((len(here),), -1)
        found = last >= 0
        centres_m = boxes[:, :3].float().clone()
        centres_m[:, 2] += boxes[:, _EDGE_BELOW_CENTRE[centre]] / 2
        labels[here[found]] = 0
        offsets_m[here[found]] = position_m[found] - centres_m[last[found]]
    return labels, offsets_m
