# RankDetNet (Liu et al., CVPR 2021): its three losses, and parts of them, after a warm-up with focal loss. Focal loss
# gives way little by little: at once, a class can fall to scores from which it does not return
# (docs/results/ablations.md).
def after_focal(loss, end=0.75):
    start = dict(type="lidar_rank.SigmoidFocalLoss")
    blend = dict(_delete_=True, type="lidar_rank.BlendLoss", start=start, end=loss)
    hook = dict(type="lidar_rank.WarmUpHook", begin=0.5, end=end)
    return dict(model=dict(bbox_head=dict(loss_cls=blend)), custom_hooks=[hook])


loss_rankdet = after_focal(dict(type="lidar_rank.RankDetLoss"))
loss_rankdet_paper = after_focal(dict(type="lidar_rank.RankDetLoss"), end=0.5)
loss_rankdet_no_iou = after_focal(dict(type="lidar_rank.RankDetLoss", iou_weight=0.0))
# Objects of any class above background, and objects of each class above everything else.
loss_rankdet_global = after_focal(dict(type="lidar_rank.GlobalRankingLoss"))
loss_rankdet_class = after_focal(dict(type="lidar_rank.ClassRankingLoss"))
# The IoU-guided loss beside focal loss; alone it never looks at background.
loss_focal_rankdet_iou = dict(
    model=dict(
        bbox_head=dict(
            loss_cls=dict(
                _delete_=True,
                type="lidar_rank.SumLoss",
                losses=[dict(type="lidar_rank.SigmoidFocalLoss"), dict(type="lidar_rank.IoURankingLoss")],
            )
        )
    )
)
