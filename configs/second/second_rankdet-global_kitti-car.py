# The first of RankDetNet's losses alone: objects of any class above background.
_base_ = ["./second_rankdet_kitti-car.py"]
model = dict(bbox_head=dict(loss_cls=dict(end=dict(type="lidar_rank.GlobalRankingLoss"))))
