"""torchvision's RetinaNet with losses of lidar_rank, against torchvision's own focal loss."""

import pytest
import torch

pytest.importorskip("torchvision", reason="torchvision is no requirement of the package")

from torchvision.models.detection.retinanet import RetinaNetHead

from lidar_rank.losses import DRLoss, RankDetLoss, SigmoidFocalLoss
from tools.examples.torchvision_retinanet import RankingHead

TARGETS = [
    {"boxes": torch.tensor([[0.0, 0.0, 30.0, 30.0], [40.0, 0.0, 60.0, 50.0]]), "labels": torch.tensor([0, 2])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]


def batch():
    """Outputs, anchors and matches of two images: objects, background, and an anchor between the thresholds."""
    generator = torch.Generator().manual_seed(0)
    corner = 40 * torch.rand(2, 20, 2, generator=generator)
    anchors = list(torch.cat([corner, corner + 10 + 20 * torch.rand(2, 20, 2, generator=generator)], 2))
    anchors[0][:5] = TARGETS[0]["boxes"][[0, 0, 1, 1, 1]] + 2 * torch.randn(5, 4, generator=generator)
    outputs = {
        "cls_logits": torch.randn(2, 20, 3, generator=generator),
        "bbox_regression": 0.1 * torch.randn(2, 20, 4, generator=generator),
    }
    matches = [torch.full((20,), -1), torch.full((20,), -1)]
    matches[0][:6] = torch.tensor([0, 0, 1, 1, 1, -2])
    return {name: value.requires_grad_() for name, value in outputs.items()}, anchors, matches


def test_focal_loss_equals_that_of_torchvision():
    outputs, anchors, matches = batch()
    ours = RankingHead(SigmoidFocalLoss(scope="image"), 3).compute_loss(TARGETS, outputs, anchors, matches)
    theirs = RetinaNetHead(256, 9, 3).compute_loss(TARGETS, outputs, anchors, matches)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value)
    gradients = [torch.autograd.grad(loss["classification"], outputs["cls_logits"])[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_dr_loss_starts_at_its_known_value():
    outputs, anchors, matches = batch()
    outputs["cls_logits"] = torch.zeros(2, 20, 3)
    loss = RankingHead(DRLoss(), 3).compute_loss(TARGETS, outputs, anchors, matches)["classification"]
    assert loss.item() == pytest.approx((2.0324 + 0.4621) / 2, abs=1e-4)


def test_rankdet_gives_gradients_to_the_boxes():
    outputs, anchors, matches = batch()
    loss = RankingHead(RankDetLoss(), 3).compute_loss(TARGETS, outputs, anchors, matches)["classification"]
    (grad,) = torch.autograd.grad(loss, outputs["bbox_regression"])
    assert (grad[0, :5].abs().amax(1) > 0).sum() >= 3  # in each pair, the box with the higher score gets a gradient
    assert (grad[0, 5:] == 0).all()
    assert (grad[1] == 0).all()
