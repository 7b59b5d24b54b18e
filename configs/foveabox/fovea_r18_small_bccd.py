# A thin FoveaBox for blood cells, on one CPU core.
_base_ = [
    "../_base_/models/retinanet_r18_small.py",
    "../_base_/data/bccd.py",
    "../_base_/schedules/small_images.py",
    "../_base_/losses/iou-balanced.py",
]

model = dict(
    type="FOVEA",
    bbox_head=dict(
        _delete_=True,
        type="lidar_rank.PerImageFoveaHead",
        num_classes=3,
        in_channels=32,
        feat_channels=32,
        stacked_convs=2,
        strides=[8, 16, 32, 64, 128],
        base_edge_list=[16, 32, 64, 128, 256],
        scale_ranges=((1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)),
        loss_cls=dict(type="lidar_rank.SigmoidFocalLoss", gamma=1.5, alpha=0.4),
        loss_bbox=dict(type="lidar_rank.SmoothL1Loss", beta=0.11),
    ),
)

# On FoveaBox's own focal and smooth L1 loss.
loss_iou_balanced = loss_iou_balanced_paper = dict(
    model=dict(bbox_head=dict(loss_cls=dict(gamma=1.5, alpha=0.4), loss_bbox=dict(beta=0.11)))
)
