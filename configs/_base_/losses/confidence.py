# RankDet on the final confidence of SA-SSD.
def of_confidence(loss):
    return dict(model=dict(bbox_head=dict(loss_part=dict(_delete_=True, **loss))))


# After a warm-up with the authors' focal loss. --loss rankdet+rankdet-confidence ranks the anchors too.
blend = dict(
    type="lidar_rank.BlendLoss",
    start=dict(type="lidar_rank.SigmoidFocalLoss"),
    end=dict(type="lidar_rank.RankDetLoss"),
)
loss_rankdet_confidence = dict(of_confidence(blend), custom_hooks=[dict(type="lidar_rank.WarmUpHook")])
# A score that ranks is no probability: no threshold leaves boxes out.
loss_rankdet_confidence["model"]["test_cfg"] = dict(score_thr=0.0)
# The IoU-guided loss beside focal loss, which keeps the scores of different scans comparable: each has few proposals.
both = dict(
    type="lidar_rank.SumLoss",
    losses=[dict(type="lidar_rank.SigmoidFocalLoss"), dict(type="lidar_rank.IoURankingLoss")],
)
loss_focal_rankdet_iou_confidence = of_confidence(both)
