"""The box head of Faster R-CNN against the host's."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from torch import nn
from torch.testing import assert_close

from .test_per_image import CLASSES, SMOOTH_L1, STOCK_SMOOTH_L1


def bbox_head(name: str, loss_bbox: dict, **options) -> nn.Module:
    init_default_scope("mmdet")
    config = {
        "type": name,
        "in_channels": 2,
        "fc_out_channels": 8,
        "roi_feat_size": 2,
        "num_classes": CLASSES,
        "loss_bbox": loss_bbox,
        **options,
    }
    head = MODELS.build(ConfigDict(config))
    torch.manual_seed(0)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    return head


def regions() -> dict:
    """Six sampled regions, three of them positive, of two images."""
    boxes = torch.tensor([[8.0, 10, 52, 40], [55.0, 25, 118, 100], [32.0, 66, 50, 99], *[[5.0, 5, 30, 30]] * 3])
    wanted = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    return {
        "rois": torch.cat([torch.tensor([[0.0], [0], [1], [0], [1], [1]]), boxes], 1),
        "labels": torch.tensor([0, 2, 1, CLASSES, CLASSES, CLASSES]),
        "label_weights": torch.ones(6),
        "bbox_targets": wanted,
        "bbox_weights": torch.ones(6, 4),
    }


@pytest.mark.parametrize("agnostic", [False, True])
def test_box_head_equals_the_host_up_to_its_normalisation(agnostic):
    """The host divides by all regions, the core's losses by the positives."""
    torch.manual_seed(3)
    pooled = torch.randn(6, 2, 2, 2)
    options = {"reg_class_agnostic": agnostic}
    stock = bbox_head("Shared2FCBBoxHead", STOCK_SMOOTH_L1, **options)
    ours = bbox_head("lidar_rank.BalancedBBoxHead", SMOOTH_L1, **options)
    expected, got = (head.loss(*head(pooled), **regions()) for head in (stock, ours))
    assert_close(got["loss_cls"], expected["loss_cls"])
    assert_close(got["loss_bbox"], expected["loss_bbox"] * 6 / 3)


def test_box_head_weighs_by_overlap_and_takes_regions_without_positives():
    torch.manual_seed(3)
    pooled = torch.randn(6, 2, 2, 2)
    head = bbox_head("lidar_rank.BalancedBBoxHead", {"type": "lidar_rank.IoUBalancedLocLoss", "w_loc": 2.0})
    plain = bbox_head("lidar_rank.BalancedBBoxHead", {"type": "lidar_rank.SmoothL1Loss"})
    assert (
        0
        < head.loss(*head(pooled), **regions())["loss_bbox"]
        < 2 * plain.loss(*plain(pooled), **regions())["loss_bbox"]
    )
    background = regions() | {"labels": torch.full((6,), CLASSES)}
    loss = head.loss(*head(pooled), **background)["loss_bbox"]
    loss.backward()
    assert loss == 0


def test_box_head_takes_a_loss_of_boxes():
    torch.manual_seed(3)
    pooled = torch.randn(6, 2, 2, 2)
    head = bbox_head("lidar_rank.BalancedBBoxHead", {"type": "lidar_rank.RotatedIoULoss", "kind": "diou"})
    loss = head.loss(*head(pooled), **regions())["loss_bbox"]
    loss.backward()
    assert 0 < loss < 2
    assert head.fc_reg.weight.grad.abs().max() > 0


def test_box_head_refuses_to_regress_boxes():
    with pytest.raises(ValueError, match="reg_decoded_bbox must be False"):
        bbox_head("lidar_rank.BalancedBBoxHead", SMOOTH_L1, reg_decoded_bbox=True)
