# GHM-C and GHM-R (Li et al., AAAI 2019), with the weights of the authors' configuration.
loss_ghm = dict(
    model=dict(
        bbox_head=dict(
            loss_cls=dict(_delete_=True, type="lidar_rank.GHMCLoss"),
            loss_bbox=dict(_delete_=True, type="lidar_rank.GHMRLoss", loss_weight=10.0),
        )
    )
)
