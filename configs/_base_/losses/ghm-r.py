# GHM-R (Li et al., AAAI 2019) for the second stage of Faster R-CNN, with the weight of the authors' configuration.
loss_ghm_r = dict(
    model=dict(
        roi_head=dict(bbox_head=dict(loss_bbox=dict(_delete_=True, type="lidar_rank.GHMRLoss", loss_weight=10.0)))
    )
)
