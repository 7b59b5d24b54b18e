# DR loss: scores start at 0.5, not 0.01.
_base_ = ["./retinanet_r50_fpn_1x_coco.py"]
model = dict(bbox_head=dict(prior_prob=0.5, loss_cls=dict(_delete_=True, type="lidar_rank.DRLoss")))
