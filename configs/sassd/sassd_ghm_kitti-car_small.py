# GHM-C and GHM-R, with the weights of the authors' configuration.
_base_ = ["./sassd_kitti-car_small.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="lidar_rank.GHMCLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.GHMRLoss", loss_weight=10.0),
    )
)
