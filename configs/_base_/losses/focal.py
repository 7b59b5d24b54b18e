# Focal loss (Lin et al., ICCV 2017).
loss_focal = dict(model=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.SigmoidFocalLoss"))))
loss_focal_paper = loss_focal  # the thin RetinaNet changes the weight of loss_focal
