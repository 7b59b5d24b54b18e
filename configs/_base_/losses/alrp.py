# aLRP loss (Oksuz et al., NeurIPS 2020) beside the box loss of the detector, which moves boxes that do not touch their
# objects yet.
loss_alrp = dict(model=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.ALRPLoss"))))
