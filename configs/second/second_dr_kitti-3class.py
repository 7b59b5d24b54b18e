_base_ = ["./second_kitti-3class.py"]
model = dict(bbox_head=dict(prior_prob=0.5, loss_cls=dict(_delete_=True, type="lidar_rank.DRLoss")))
