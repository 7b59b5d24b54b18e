# GHM-C and GHM-R with the weights of the authors; mu on the scale of the errors of so short a training, not 0.02.
_base_ = ["./second_kitti-3class_small.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="lidar_rank.GHMCLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.GHMRLoss", mu=0.2, loss_weight=10.0),
    )
)
