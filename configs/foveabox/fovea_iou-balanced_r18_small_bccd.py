# IoU-balanced classification, on the focal loss of FoveaBox, and localization.
_base_ = ["./fovea_r18_small_bccd.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(type="lidar_rank.IoUBalancedClsLoss"),
        loss_bbox=dict(type="lidar_rank.IoUBalancedLocLoss", w_loc="auto"),
    )
)
