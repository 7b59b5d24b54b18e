"""A loss in the wrong head is one error that names the right one."""

import pytest

from lidar_rank.mm import running
from lidar_rank.mm.configs import load_config
from lidar_rank.mm.seam import check_losses_have_images

from .conftest import CONFIGS

DR = {"type": "lidar_rank.DRLoss"}


def model(head: str, loss: dict) -> dict:
    return {"type": "VoxelNet", "bbox_head": {"type": head, "loss_cls": loss}}


@pytest.mark.parametrize(
    ("stock", "ours"),
    [("Anchor3DHead", "PerImageAnchor3DHead"), ("mmdet3d.Anchor3DHead", "PerImageAnchor3DHead")],
)
def test_stock_head_is_refused_and_ours_named(stock, ours):
    with pytest.raises(ValueError, match=rf"model\.bbox_head: lidar_rank\.DRLoss ranks .* type='lidar_rank\.{ours}'"):
        check_losses_have_images(model(stock, DR))


def test_a_head_within_a_list_is_found():
    with pytest.raises(ValueError, match=r"model\.roi_head\.bbox_head\[1\]: .* or wrap the loss in lidar_rank\.Flat"):
        check_losses_have_images({"roi_head": {"bbox_head": [{}, {"type": "SomeHead", "loss_cls": DR}]}})


def test_our_heads_flat_losses_and_the_hosts_losses_pass():
    check_losses_have_images(model("lidar_rank.PerImageAnchor3DHead", DR))
    check_losses_have_images(model("RetinaHead", {"type": "lidar_rank.FlatLoss", "use_sigmoid": True, "loss": DR}))
    check_losses_have_images(model("Anchor3DHead", {"type": "mmdet.FocalLoss"}))


def test_a_flat_loss_that_the_head_would_misunderstand_is_refused():
    """The host decides by the text of the config about a channel for background, and whether it samples anchors."""
    flat = {"type": "lidar_rank.FlatLoss", "loss": DR}
    with pytest.raises(ValueError, match=r"RetinaHead reads use_sigmoid in the config .* write .*use_sigmoid=True"):
        check_losses_have_images(model("mmdet.RetinaHead", flat))
    for head in ("Anchor3DHead", "mmdet3d.Anchor3DHead"):
        with pytest.raises(ValueError, match=rf"{head} samples anchors .* use type='lidar_rank\."):
            check_losses_have_images(model(head, {**flat, "use_sigmoid": True}))


def test_training_stops_before_it_starts(tmp_path):
    config = load_config(str(CONFIGS / "second" / "second_kitti-car_small.py"), "dr")
    config.model.bbox_head.type = "Anchor3DHead"
    config.dump(tmp_path / "wrong.py")
    with pytest.raises(ValueError, match=r"use type='lidar_rank\.PerImageAnchor3DHead'"):
        running.train(str(tmp_path / "wrong.py"), work_dir=str(tmp_path))


def test_a_stock_head_is_refused_for_a_localization_loss_too():
    head = {
        "type": "Anchor3DHead",
        "loss_cls": {"type": "mmdet.FocalLoss"},
        "loss_bbox": {"type": "lidar_rank.RotatedIoULoss"},
    }
    with pytest.raises(
        ValueError, match=r"model\.bbox_head: Anchor3DHead does not give lidar_rank\.RotatedIoULoss .* boxes"
    ):
        check_losses_have_images({"bbox_head": head})
