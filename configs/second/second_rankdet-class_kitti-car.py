# The second of RankDetNet's losses alone: objects of a class above everything else.
_base_ = ["./second_rankdet_kitti-car.py"]
model = dict(bbox_head=dict(loss_cls=dict(end=dict(type="lidar_rank.ClassRankingLoss"))))
