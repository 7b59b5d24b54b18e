# aLRP loss (Oksuz et al., NeurIPS 2020) beside the box loss of the detector, which moves boxes that do not touch their
# objects yet.
# It compares scores with each other alone: they start at 0.5, which then lies between background and objects. From a
# lower start all may stay below the score threshold of the test.
loss_alrp = dict(model=dict(bbox_head=dict(prior_prob=0.5, loss_cls=dict(_delete_=True, type="lidar_rank.ALRPLoss"))))
loss_alrp_paper = loss_alrp  # models for scans and the thin RetinaNet change the weight of loss_alrp
