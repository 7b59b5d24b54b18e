# GHM-R, with the weight of the authors' configuration.
_base_ = ["./faster-rcnn_r18_small_bccd.py"]
model = dict(roi_head=dict(bbox_head=dict(loss_bbox=dict(_delete_=True, type="lidar_rank.GHMRLoss", loss_weight=10.0))))
