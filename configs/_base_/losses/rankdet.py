# RankDetNet (Liu et al., CVPR 2021): its three losses, and parts of them, after a warm-up with focal loss.
def after_focal(loss, **warm_up):
    start = dict(type="lidar_rank.SigmoidFocalLoss")
    blend = dict(_delete_=True, type="lidar_rank.BlendLoss", start=start, end=loss)
    hook = dict(type="lidar_rank.WarmUpHook", **warm_up)
    return dict(model=dict(bbox_head=dict(loss_cls=blend)), custom_hooks=[hook])


loss_rankdet = after_focal(dict(type="lidar_rank.RankDetLoss"))
loss_rankdet_paper = loss_rankdet  # models for scans change the weight of loss_rankdet
loss_rankdet_no_iou = after_focal(dict(type="lidar_rank.RankDetLoss", iou_weight=0.0))
# Objects of any class above background, and objects of each class above everything else.
loss_rankdet_global = after_focal(dict(type="lidar_rank.GlobalRankingLoss"))
loss_rankdet_class = after_focal(dict(type="lidar_rank.ClassRankingLoss"))
# Focal loss gives way little by little instead of at once.
loss_rankdet_blend = after_focal(dict(type="lidar_rank.RankDetLoss"), begin=0.25, end=0.75)
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
