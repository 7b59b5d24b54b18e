# IoU-balanced classification and localization.
_base_ = ["./retinanet_r18_small_kitti-car.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="lidar_rank.IoUBalancedClsLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.IoUBalancedLocLoss", w_loc="auto"),
    )
)
