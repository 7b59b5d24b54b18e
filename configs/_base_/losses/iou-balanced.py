# IoU-balanced classification and localization (Wu et al., arXiv:1908.05641). The factor of the localization loss is
# measured on the first batch.
loss_iou_balanced = dict(
    model=dict(
        bbox_head=dict(
            loss_cls=dict(_delete_=True, type="lidar_rank.IoUBalancedClsLoss"),
            loss_bbox=dict(_delete_=True, type="lidar_rank.IoUBalancedLocLoss", w_loc="auto"),
        )
    )
)
loss_iou_balanced_paper = loss_iou_balanced  # models for scans and the thin RetinaNet change its weights
