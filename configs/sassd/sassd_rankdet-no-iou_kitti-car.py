# RankDetNet without its IoU-guided loss.
_base_ = ["./sassd_rankdet_kitti-car.py"]
model = dict(bbox_head=dict(loss_cls=dict(end=dict(iou_weight=0.0))))
