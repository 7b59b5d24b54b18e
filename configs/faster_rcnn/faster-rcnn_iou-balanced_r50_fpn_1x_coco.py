# IoU-balanced localization.
_base_ = ["./faster-rcnn_r50_fpn_1x_coco.py"]
model = dict(roi_head=dict(bbox_head=dict(loss_bbox=dict(type="lidar_rank.IoUBalancedLocLoss"))))
