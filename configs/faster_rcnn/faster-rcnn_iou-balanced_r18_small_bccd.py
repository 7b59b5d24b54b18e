# IoU-balanced localization.
_base_ = ["./faster-rcnn_r18_small_bccd.py"]
model = dict(roi_head=dict(bbox_head=dict(loss_bbox=dict(type="lidar_rank.IoUBalancedLocLoss", w_loc="auto"))))
