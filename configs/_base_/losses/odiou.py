# Orientation-aware distance-IoU loss of the boxes (SE-SSD, Zheng et al., CVPR 2021), for scans.
loss_odiou = dict(
    model=dict(
        bbox_head=dict(loss_bbox=dict(_delete_=True, type="lidar_rank.RotatedIoULoss", kind="odiou", loss_weight=2.0))
    )
)
