"""Part-sensitive warping of SA-SSD: the confidence of a box, sampled from a map at the positions of its parts."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class PartSensitiveWarping(nn.Module):
    """Scores boxes: each part of a box is sampled from the map of that part, and the mean over parts is the score.

    The gradient reaches the boxes, so that a box can move to raise its score.

    Source: He et al., "Structure Aware Single-stage 3D Object Detection from Point Cloud", CVPR 2020, section 3.3.

    Args:
        point_cloud_range_m: x_min, y_min, z_min, x_max, y_max, z_max that the map spans.
        in_channels: Channels of the map.
        parts: Parts across and along a box.
        norm_momentum: Of batch normalisation.
        prior_prob: Score of every box before training; None is the authors' network, whose last layer has no bias.
    """

    def __init__(
        self,
        point_cloud_range_m: Sequence[float],
        in_channels: int = 256,
        parts: tuple[int, int] = (4, 7),
        norm_momentum: float = 0.01,
        prior_prob: float | None = None,
    ) -> None:
        super().__init__()
        self.point_cloud_range_m, self.parts = tuple(point_cloud_range_m), (parts[0], parts[1])
        channels = parts[0] * parts[1]
        last = nn.Conv2d(channels, channels, 1, bias=prior_prob is not None)
        if prior_prob is not None and last.bias is not None:
            nn.init.constant_(last.bias, math.log(prior_prob / (1 - prior_prob)))
        self.part_maps = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels, eps=1e-3, momentum=norm_momentum),
            nn.ReLU(inplace=True),
            last,
        )

    def forward(
        self, features: Float[Tensor, "scan channel y x"], boxes: Sequence[Float[Tensor, "box 7"]]
    ) -> list[Float[Tensor, " box"]]:
        """Score the boxes of each scan.

        Args:
            features: Map of each scan.
            boxes: Boxes of each scan, any number of them, in the LiDAR frame.

        Returns:
            Logits of each scan's boxes, float32.
        """
        maps = self.part_maps(features).float()
        return [self._scores(part_maps, own) for part_maps, own in zip(maps, boxes, strict=True)]

    def _scores(self, part_maps: Float[Tensor, "part y x"], boxes: Float[Tensor, "box 7"]) -> Float[Tensor, " box"]:
        rows, columns = part_maps.shape[1:]
        x_min, y_min, _, x_max, y_max, _ = self.point_cloud_range_m
        # Axis by axis: a list of numbers would be copied to the device, which waits for it. The authors place cell i at
        # i, its lower corner, and not at i + 0.5; so does align_corners.
        x, y = part_positions(boxes, self.parts).unbind(2)
        axes = [
            (position_m - low) * (cells / (high - low)) * (2 / (cells - 1)) - 1
            for position_m, low, high, cells in ((x, x_min, x_max, columns), (y, y_min, y_max, rows))
        ]
        grid = torch.stack(axes, dim=2)
        with torch.autocast(boxes.device.type, enabled=False):
            sampled = F.grid_sample(part_maps[:, None], grid.transpose(0, 1)[:, :, None], align_corners=True)
        return sampled[:, 0, :, 0].mean(0)


def part_positions(boxes: Float[Tensor, "box 7"], parts: tuple[int, int]) -> Float[Tensor, "box part 2"]:
    """Positions x, y of the parts of each box in metres: from right to left, and for each of these from rear to front.

    The outermost parts lie on the edges of the box.
    """
    across, along = (torch.linspace(-0.5, 0.5, count, dtype=boxes.dtype, device=boxes.device) for count in parts)
    share_across, share_along = (grid.flatten() for grid in torch.meshgrid(across, along, indexing="ij"))
    x, y, _, length, width, _, yaw = (column[:, None] for column in boxes.unbind(1))
    ahead, left = share_along * length, share_across * width
    return torch.stack([x + ahead * yaw.cos() - left * yaw.sin(), y + ahead * yaw.sin() + left * yaw.cos()], dim=-1)
