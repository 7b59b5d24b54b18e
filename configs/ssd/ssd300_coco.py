# mmdet's SSD for COCO with the losses per image: cross entropy of the positives and of the hardest background.
_base_ = ["mmdet::ssd/ssd300_coco.py"]
custom_imports = dict(imports=["lidar_rank.mm"])

model = dict(
    bbox_head=dict(
        type="lidar_rank.PerImageSSDHead",
        # The host divides by the positives, this loss by the entries that count: 4 per positive, in each of 80 classes.
        loss_cls=dict(type="lidar_rank.BinaryCrossEntropyLoss", loss_weight=4.0 * 80),
        loss_bbox=dict(type="lidar_rank.SmoothL1Loss", beta=1.0),
    )
)
