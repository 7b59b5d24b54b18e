# GHM-C and GHM-R (Li et al., AAAI 2019), with the weights of the authors' configuration; GHM-C beside the config's own
# loss of the boxes.
loss_ghm_c = dict(model=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.GHMCLoss"))))
loss_ghm_c_paper = loss_ghm_c  # the thin RetinaNet changes the weight of loss_ghm_c
loss_ghm = dict(
    model=dict(
        bbox_head=dict(
            loss_cls=dict(_delete_=True, type="lidar_rank.GHMCLoss"),
            loss_bbox=dict(_delete_=True, type="lidar_rank.GHMRLoss", loss_weight=10.0),
        )
    )
)
loss_ghm_paper = loss_ghm  # small configs change the settings of loss_ghm
