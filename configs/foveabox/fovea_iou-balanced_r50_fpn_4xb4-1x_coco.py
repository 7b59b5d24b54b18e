# IoU-balanced classification, on the focal loss of FoveaBox, and localization.
_base_ = ["./fovea_r50_fpn_4xb4-1x_coco.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(type="lidar_rank.IoUBalancedClsLoss"),
        loss_bbox=dict(type="lidar_rank.IoUBalancedLocLoss"),
    )
)
