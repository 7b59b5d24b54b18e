# mmdet's SSD for COCO with the losses per image: cross entropy of the positives and of the hardest background.
_base_ = ["mmdet::ssd/ssd300_coco.py", "../_base_/losses/iou-balanced.py"]
custom_imports = dict(imports=["lidar_rank.mm"])

# The host divides by the positives, this loss by the entries that count: 4 per positive, in each of 80 classes.
weight = 4.0 * 80
model = dict(
    bbox_head=dict(
        type="lidar_rank.PerImageSSDHead",
        loss_cls=dict(type="lidar_rank.BinaryCrossEntropyLoss", loss_weight=weight),
        loss_bbox=dict(type="lidar_rank.SmoothL1Loss", beta=1.0),
    )
)

# On SSD's own cross entropy and smooth L1 loss, with the authors' factor, tuned on COCO.
loss_iou_balanced = loss_iou_balanced_paper = dict(
    model=dict(bbox_head=dict(loss_cls=dict(base="ce", loss_weight=weight), loss_bbox=dict(beta=1.0, w_loc=3.049)))
)
