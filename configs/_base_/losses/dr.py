# DR loss (Qian et al., CVPR 2020). All scores start at 0.5; its option scale already has the paper's weight of 4.
loss_dr = dict(model=dict(bbox_head=dict(prior_prob=0.5, loss_cls=dict(_delete_=True, type="lidar_rank.DRLoss"))))
loss_dr_paper = loss_dr  # models for scans change the weight of loss_dr
# After a warm-up with focal loss, whose scores start low; focal loss gives way little by little, as before RankDet.
loss_dr_after_focal = dict(
    model=dict(
        bbox_head=dict(
            loss_cls=dict(
                _delete_=True,
                type="lidar_rank.BlendLoss",
                start=dict(type="lidar_rank.SigmoidFocalLoss"),
                end=dict(type="lidar_rank.DRLoss"),
            )
        )
    ),
    custom_hooks=[dict(type="lidar_rank.WarmUpHook", begin=0.5, end=0.75)],
)
