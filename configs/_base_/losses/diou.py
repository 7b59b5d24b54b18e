# Distance-IoU loss of the boxes (Zheng et al., AAAI 2020) in place of a loss of their deltas; rotated on scans.
loss_diou = dict(
    model=dict(
        bbox_head=dict(loss_bbox=dict(_delete_=True, type="lidar_rank.RotatedIoULoss", kind="diou", loss_weight=2.0))
    )
)
