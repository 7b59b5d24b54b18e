# AP loss (Chen et al., CVPR 2019).
loss_ap = dict(model=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.APLoss"))))
