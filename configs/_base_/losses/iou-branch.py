# A branch that predicts overlaps, with which scores are multiplied at test (CIA-SSD, Zheng et al., AAAI 2021), beside
# the losses of the detector. Power 1 with this weight was the best of four trials on 200 held-out simulated scans
# (docs/results/ablation_3d.md); with a weight of 0.3 powers of 1 and 4 had 79.9 and 80.3. Beside rankdet+box-iou a
# loss_weight of 0.1 was better than 1.
loss_iou_branch = dict(model=dict(bbox_head=dict(iou_branch=dict(power=1.0, loss_weight=1.0))))
loss_iou_branch_paper = dict(model=dict(bbox_head=dict(iou_branch=dict(power=4.0, loss_weight=1.0))))
