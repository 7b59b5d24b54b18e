# RankSort loss (Oksuz et al., ICCV 2021).
loss_rank_sort = dict(model=dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.RankSortLoss"))))
