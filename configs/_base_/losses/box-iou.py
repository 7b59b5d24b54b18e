# Losses of whole boxes on scans. Orientation-aware distance-IoU loss (SE-SSD, Zheng et al., CVPR 2021) in place of a
# loss of the deltas:
loss_odiou = dict(
    model=dict(
        bbox_head=dict(loss_bbox=dict(_delete_=True, type="lidar_rank.RotatedIoULoss", kind="odiou", loss_weight=2.0))
    )
)
# 1 - IoU of the rotated boxes beside smooth L1 of their deltas, which moves boxes that do not overlap yet; with the
# focal loss of the config, or with RankDetNet's losses, a quarter as strong, after a warm-up with focal loss:
box_iou = dict(
    _delete_=True,
    type="lidar_rank.SumLoss",
    losses=[
        dict(type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0, loss_weight=2.0),
        dict(type="lidar_rank.RotatedIoULoss", kind="iou"),
    ],
)
loss_box_iou = dict(model=dict(bbox_head=dict(loss_bbox=box_iou)))
loss_rankdet_box_iou = dict(
    model=dict(
        bbox_head=dict(
            loss_cls=dict(
                _delete_=True,
                type="lidar_rank.BlendLoss",
                start=dict(type="lidar_rank.SigmoidFocalLoss"),
                end=dict(type="lidar_rank.RankDetLoss", loss_weight=0.25),
            ),
            loss_bbox=box_iou,
        )
    ),
    custom_hooks=[dict(type="lidar_rank.WarmUpHook")],
)
