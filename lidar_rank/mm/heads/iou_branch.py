"""A branch of an anchor head that predicts how well each box fits, for scores that know it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lidar_rank.losses import SmoothL1Loss
from lidar_rank.mm import seam


class IoUBranch(nn.Module):
    """Predicts the overlap of each anchor's regressed box with its object, by a 1 x 1 convolution of the features.

    The head applies the convolution, ``conv``, together with its own.

    The prediction t is trained at positives towards 2 iou - 1 by smooth L1. At test the score of a box is multiplied
    with ``iou ** power``, where iou is (t + 1) / 2 within [0, 1].

    Source: Zheng et al., "CIA-SSD: Confident IoU-Aware Single-Stage Object Detector From Point Cloud", AAAI 2021.

    Args:
        in_channels: Of the features.
        num_anchors: Per place of the map.
        power: Of the overlap in the score, >= 0; 0 leaves scores as they are.
        loss_weight: Factor of smooth L1, >= 0.

    Raises:
        ValueError: ``power`` or ``loss_weight`` is not as described.
    """

    def __init__(self, in_channels: int, num_anchors: int, power: float = 4.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not 0 <= power < math.inf:
            raise ValueError(f"iou_branch.power must be >= 0, got {power!r}; 0 leaves scores as they are")
        self.conv = nn.Conv2d(in_channels, num_anchors, 1)
        self.power = power
        self.loss_iou = SmoothL1Loss(beta=1 / 9, loss_weight=loss_weight)

    def loss(self, maps: list[Tensor], place: tuple[Tensor, Tensor], iou: Tensor) -> Tensor:
        """Loss of the predictions at positives.

        Args:
            maps: t of every level.
            place: (positive,) each, image and candidate of each positive.
            iou: (positive,), overlaps of their regressed boxes; constants to the gradient.
        """
        return self.loss_iou(seam.by_image(maps, 1)[place], 2 * iou.detach()[:, None] - 1)

    def factor(self, prediction: Tensor) -> Tensor:
        """Return what a score is multiplied with, of predictions t of any shape."""
        return ((prediction + 1) / 2).clamp(0, 1) ** self.power

    def rectified(self, cls_scores: Sequence[Tensor], maps: Sequence[Tensor], score_thr: float) -> list[Tensor]:
        """Return logits (image, anchor * class, y, x) of the rectified scores of every level.

        Entries whose score without the overlap is not above ``score_thr`` get score 0, because the threshold of a
        detector is for these scores.
        """
        return [self._rectified(*level, score_thr) for level in zip(cls_scores, maps, strict=True)]

    def _rectified(self, logits: Tensor, prediction: Tensor, score_thr: float) -> Tensor:
        score = logits.float().sigmoid().unflatten(1, (prediction.shape[1], -1))
        rectified = score * self.factor(prediction.float()).unsqueeze(2)
        return torch.where(score > score_thr, rectified, 0.0).flatten(1, 2).logit()
