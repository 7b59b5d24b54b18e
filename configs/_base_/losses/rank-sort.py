# RankSort loss (Oksuz et al., ICCV 2021).
# It compares scores with each other alone: they start at 0.5, which then lies between background and objects. From a
# lower start all may stay below the score threshold of the test.
loss_rank_sort = dict(
    model=dict(bbox_head=dict(prior_prob=0.5, loss_cls=dict(_delete_=True, type="lidar_rank.RankSortLoss")))
)
loss_rank_sort_paper = loss_rank_sort  # the thin RetinaNet changes the weight of loss_rank_sort
