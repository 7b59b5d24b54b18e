# Losses of the scores of Faster R-CNN's region proposals, over all anchors of an image in place of a sample of them.
def rank_proposals(loss, prior_prob=0.01):
    head = dict(
        type="lidar_rank.PerImageRPNHead",
        prior_prob=prior_prob,
        loss_cls=dict(_delete_=True, **loss),
        loss_bbox=dict(_delete_=True, type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0),
    )
    return dict(rpn_head=head, train_cfg=dict(rpn=dict(sampler=dict(_delete_=True, type="PseudoSampler"))))


focal = dict(type="lidar_rank.SigmoidFocalLoss")
blend = dict(type="lidar_rank.BlendLoss", start=focal, end=dict(type="lidar_rank.RankDetLoss"))
loss_rpn_focal = dict(model=rank_proposals(focal))
loss_rpn_rankdet = dict(
    model=rank_proposals(blend), custom_hooks=[dict(type="lidar_rank.WarmUpHook", begin=0.5, end=0.75)]
)
loss_rpn_dr = dict(model=rank_proposals(dict(type="lidar_rank.DRLoss"), prior_prob=0.5))
