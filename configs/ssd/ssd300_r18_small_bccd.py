# A thin SSD for blood cells, on one CPU core: a quarter of ResNet-18's width instead of VGG-16.
_base_ = [
    "mmdet::_base_/models/ssd300.py",
    "../_base_/data/bccd.py",
    "../_base_/schedules/small_images.py",
    "../_base_/losses/iou-balanced.py",
]

weight = 4.0 * 3  # as in ssd300_coco.py, with 3 classes
model = dict(
    data_preprocessor=dict(std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type="ResNet",
        depth=18,
        base_channels=16,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(1, 2),
    ),
    neck=dict(in_channels=(32, 64), out_channels=(32, 64, 64, 32, 32, 32)),
    bbox_head=dict(
        type="lidar_rank.PerImageSSDHead",
        num_classes=3,
        in_channels=(32, 64, 64, 32, 32, 32),
        loss_cls=dict(type="lidar_rank.BinaryCrossEntropyLoss", loss_weight=weight),
        loss_bbox=dict(type="lidar_rank.SmoothL1Loss", beta=1.0),
    ),
)
# On SSD's own cross entropy and smooth L1 loss.
loss_iou_balanced = loss_iou_balanced_paper = dict(
    model=dict(bbox_head=dict(loss_cls=dict(base="ce", loss_weight=weight), loss_bbox=dict(beta=1.0)))
)

square = dict(type="Resize", scale=(300, 300), keep_ratio=False)
train_pipeline = [square if step.type == "Resize" else step for step in _base_.train_pipeline]
test_pipeline = [square if step.type == "Resize" else step for step in _base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
