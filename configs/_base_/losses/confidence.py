# RankDet on the final confidence of SA-SSD, after a warm-up with the authors' focal loss; with --loss
# rankdet+rankdet-confidence also on the scores of its anchors.
loss_rankdet_confidence = dict(
    model=dict(
        bbox_head=dict(
            loss_part=dict(
                _delete_=True,
                type="lidar_rank.BlendLoss",
                start=dict(type="lidar_rank.SigmoidFocalLoss"),
                end=dict(type="lidar_rank.RankDetLoss"),
            )
        )
    ),
    custom_hooks=[dict(type="lidar_rank.WarmUpHook")],
)
