# Cross entropy of every anchor, the loss that the others improve on; weighed as in the GHM paper's baseline.
_base_ = ["./second_kitti-car.py"]
model = dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.BinaryCrossEntropyLoss", loss_weight=20.0)))
