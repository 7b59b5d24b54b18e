# Focal loss (Lin et al., ICCV 2017).
loss_focal = dict(model=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.SigmoidFocalLoss"))))
