# Varifocal loss (Zhang et al., CVPR 2021).
loss_varifocal = dict(model=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.VarifocalLoss"))))
