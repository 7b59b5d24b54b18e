# Cross entropy of every anchor, the loss that the others improve on. Its mean is over all anchors, that of focal loss
# over the objects' alone, a hundredth of them.
loss_ce = dict(
    model=dict(
        bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.BinaryCrossEntropyLoss", loss_weight=100.0))
    )
)
