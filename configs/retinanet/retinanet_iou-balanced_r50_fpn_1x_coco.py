# IoU-balanced classification and localization.
_base_ = ["./retinanet_r50_fpn_1x_coco.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="lidar_rank.IoUBalancedClsLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.IoUBalancedLocLoss"),
    )
)
