# Quality focal loss (Li et al., NeurIPS 2020).
loss_quality_focal = dict(model=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.QualityFocalLoss"))))
loss_quality_focal_paper = loss_quality_focal  # the thin RetinaNet changes the weight of loss_quality_focal
