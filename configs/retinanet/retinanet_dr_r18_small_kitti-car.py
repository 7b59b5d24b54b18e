# DR loss: scores start at 0.5, not 0.01; the weight of 4 is the default of its option scale.
_base_ = ["./retinanet_r18_small_kitti-car.py"]
model = dict(bbox_head=dict(prior_prob=0.5, loss_cls=dict(_delete_=True, type="lidar_rank.DRLoss")))
