# A branch that predicts overlaps, with which scores are multiplied at test (CIA-SSD, Zheng et al., AAAI 2021), beside
# the losses of the detector.
loss_iou_branch = dict(model=dict(bbox_head=dict(iou_branch=dict(power=4.0, loss_weight=1.0))))
