# GHM-R, with the weight of the authors' configuration.
_base_ = ["./faster-rcnn_r50_fpn_1x_coco.py"]
model = dict(roi_head=dict(bbox_head=dict(loss_bbox=dict(_delete_=True, type="lidar_rank.GHMRLoss", loss_weight=10.0))))
