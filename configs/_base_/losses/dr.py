# DR loss (Qian et al., CVPR 2020). All scores start at 0.5; its option scale already has the paper's weight of 4.
loss_dr = dict(model=dict(bbox_head=dict(prior_prob=0.5, loss_cls=dict(_delete_=True, type="lidar_rank.DRLoss"))))
loss_dr_paper = loss_dr  # models for scans change the weight of loss_dr
