# A thin SSD for blood cells, on one CPU core: a quarter of ResNet-18's width instead of VGG-16.
_base_ = ["mmdet::_base_/models/ssd300.py", "../_base_/bccd.py", "../_base_/small.py"]

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
        # As in ssd300_coco.py, with 3 classes.
        loss_cls=dict(type="lidar_rank.BinaryCrossEntropyLoss", loss_weight=4.0 * 3),
        loss_bbox=dict(type="lidar_rank.SmoothL1Loss", beta=1.0),
    ),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(type="Resize", scale=(300, 300), keep_ratio=False)
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type="Resize", scale=(300, 300), keep_ratio=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
