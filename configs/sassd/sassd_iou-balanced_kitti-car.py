# IoU-balanced classification and localization; the factor of the latter is measured on the first batch.
_base_ = ["./sassd_kitti-car.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="lidar_rank.IoUBalancedClsLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.IoUBalancedLocLoss", w_loc="auto", loss_weight=2.0),
    )
)
