"""The 2D network of SA-SSD, on the map seen from above."""

import itertools

from jaxtyping import Float
from torch import Tensor, nn


class BEVNet(nn.Module):
    """3 x 3 convolutions at one resolution, then a 1 x 1 convolution; each without bias, with normalisation and ReLU.

    Source: He et al., "Structure Aware Single-stage 3D Object Detection from Point Cloud", CVPR 2020.

    Args:
        in_channels: Channels times height of the sparse backbone's output.
        channels: Width of every convolution.
        depth: 3 x 3 convolutions, at least 1.
        norm_momentum: Of batch normalisation.

    Raises:
        ValueError: ``depth`` is below 1.
    """

    def __init__(
        self, in_channels: int = 320, channels: int = 256, depth: int = 7, norm_momentum: float = 0.01
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        widths = [in_channels] + [channels] * depth
        body = [_normalised(*pair, 3, norm_momentum) for pair in itertools.pairwise(widths)]
        self.body = nn.Sequential(*body)
        self.last = _normalised(channels, channels, 1, norm_momentum)

    def forward(
        self, x: Float[Tensor, "scan channel_height y x"]
    ) -> tuple[Float[Tensor, "scan channel y x"], Float[Tensor, "scan channel y x"]]:
        """Return the map for the box head, and the map before the last convolution for part-sensitive warping."""
        part_features = self.body(x)
        return self.last(part_features), part_features


def _normalised(inputs: int, outputs: int, kernel: int, momentum: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=momentum),
        nn.ReLU(inplace=True),
    )
