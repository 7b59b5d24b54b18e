# Correlation loss (Kahraman et al., AAAI 2023) beside focal loss, with the paper's weight.
loss_focal_concordance = dict(
    model=dict(
        bbox_head=dict(
            loss_cls=dict(
                _delete_=True,
                type="lidar_rank.SumLoss",
                losses=[
                    dict(type="lidar_rank.SigmoidFocalLoss"),
                    dict(type="lidar_rank.ConcordanceLoss", loss_weight=0.2),
                ],
            )
        )
    )
)
loss_focal_concordance_paper = loss_focal_concordance  # the thin RetinaNet changes its weights
