# IoU-balanced classification, on the cross entropy of SSD, and localization.
_base_ = ["./ssd300_coco.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(type="lidar_rank.IoUBalancedClsLoss", base="ce"),
        loss_bbox=dict(type="lidar_rank.IoUBalancedLocLoss"),
    )
)
