# Varifocal loss (Zhang et al., CVPR 2021).
loss_varifocal = dict(model=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.VarifocalLoss"))))
loss_varifocal_paper = loss_varifocal  # the thin RetinaNet changes the weight of loss_varifocal
