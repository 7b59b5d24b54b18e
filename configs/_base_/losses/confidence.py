# RankDet on the final confidence of SA-SSD, after a warm-up with the authors' focal loss; with --loss
# rankdet+rankdet-confidence also on the scores of its anchors. The weight was the best of 0.3, 0.1, 0.03 and 0.01 on
# 200 held-out simulated scans (docs/results/ablation_3d.md): with 1 the gradient spoils the boxes themselves.
loss_rankdet_confidence = dict(
    model=dict(
        bbox_head=dict(
            loss_part=dict(
                _delete_=True,
                type="lidar_rank.BlendLoss",
                start=dict(type="lidar_rank.SigmoidFocalLoss"),
                end=dict(type="lidar_rank.RankDetLoss", loss_weight=0.03),
            )
        ),
        # A score that ranks is no probability, and ranks well only beside the score of the anchor.
        test_cfg=dict(score_thr=0.0, ranked_by="both"),
    ),
    custom_hooks=[dict(type="lidar_rank.WarmUpHook")],
)
