# AP loss (Chen et al., CVPR 2019).
# It compares scores with each other alone: they start at 0.5, which then lies between background and objects. From a
# lower start all may stay below the score threshold of the test.
loss_ap = dict(model=dict(bbox_head=dict(prior_prob=0.5, loss_cls=dict(_delete_=True, type="lidar_rank.APLoss"))))
loss_ap_paper = loss_ap  # models for scans and the thin RetinaNet change the weight of loss_ap
