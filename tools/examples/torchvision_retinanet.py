"""torchvision's RetinaNet with a loss of lidar_rank. Only ``compute_loss`` of its head changes.

    head = RankingHead(DRLoss(), num_classes=91, prior_prob=0.5)
    model = retinanet_resnet50_fpn(num_classes=91, head=head)
    model(images, targets)  # {"classification": ..., "bbox_regression": ...}

Run as a script, this file takes a few training steps on random images to show that it works.
"""

import math

import torch
from torch import Tensor, nn
from torchvision.models.detection import retinanet_resnet50_fpn
from torchvision.models.detection.retinanet import RetinaNetHead

from lidar_rank.losses import DRLoss, RankDetLoss


class RankingHead(RetinaNetHead):
    """RetinaNet's head with another classification loss.

    Args:
        loss_cls: Classification loss of :mod:`lidar_rank.losses`.
        num_classes: Number of classes of the model.
        prior_prob: Score with which every anchor starts: 0.5 for DR loss.
        in_channels: Channels of the feature maps.
        num_anchors: Anchors per cell of a feature map.
    """

    def __init__(
        self,
        loss_cls: nn.Module,
        num_classes: int,
        prior_prob: float = 0.01,
        in_channels: int = 256,
        num_anchors: int = 9,
    ) -> None:
        super().__init__(in_channels, num_anchors, num_classes)
        self.loss_cls = loss_cls
        nn.init.constant_(self.classification_head.cls_logits.bias, math.log(prior_prob / (1 - prior_prob)))

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Return both losses. ``matched_idxs`` is each anchor's object, -1 background, -2 between the thresholds."""
        logits, deltas = head_outputs["cls_logits"], head_outputs["bbox_regression"]
        labels = torch.full(logits.shape[:2], logits.shape[2], device=logits.device)
        iou = logits.new_zeros(labels.shape)
        for image, (target, anchor, match) in enumerate(zip(targets, anchors, matched_idxs, strict=True)):
            found = match >= 0
            labels[image, found] = target["labels"][match[found]]
            labels[image, match == -2] = -1
            boxes = self.regression_head.box_coder.decode_single(deltas[image, found], anchor[found])
            iou[image, found] = paired_iou(boxes, target["boxes"][match[found]])
        return {
            "classification": self.loss_cls(logits, labels, iou=iou),
            "bbox_regression": self.regression_head.compute_loss(targets, head_outputs, anchors, matched_idxs),
        }


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Differentiable IoU of ``a[i]`` and ``b[i]``, boxes (left, top, right, bottom)."""
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    return inner / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inner)


def main() -> None:
    """Take three steps with each of two losses."""
    torch.manual_seed(0)
    images = list(torch.rand(2, 3, 128, 160))
    targets = [
        {"boxes": torch.tensor([[20.0, 30.0, 60.0, 80.0], [70.0, 10.0, 150.0, 100.0]]), "labels": torch.tensor([0, 1])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    for loss_cls, prior_prob in ((DRLoss(), 0.5), (RankDetLoss(), 0.5)):
        head = RankingHead(loss_cls, 2, prior_prob)
        model = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2, head=head, min_size=128)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for step in range(3):
            parts = model(images, targets)
            optimizer.zero_grad()
            sum(parts.values()).backward()
            optimizer.step()
            print(type(loss_cls).__name__, step, {name: round(value.item(), 3) for name, value in parts.items()})


if __name__ == "__main__":
    main()
