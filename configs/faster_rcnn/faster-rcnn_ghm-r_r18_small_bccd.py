# GHM-R, with the weight of the authors' configuration, and mu on the scale of deltas that are divided by 0.1.
_base_ = ["./faster-rcnn_r18_small_bccd.py"]
model = dict(
    roi_head=dict(bbox_head=dict(loss_bbox=dict(_delete_=True, type="lidar_rank.GHMRLoss", mu=0.5, loss_weight=10.0)))
)
