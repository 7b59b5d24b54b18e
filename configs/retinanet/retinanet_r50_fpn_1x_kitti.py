# mmdet's RetinaNet for the images of KITTI with the losses per image.
_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "../_base_/kitti_image.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]
custom_imports = dict(imports=["lidar_rank.mm"])

model = dict(
    bbox_head=dict(
        type="lidar_rank.PerImageRetinaHead",
        num_classes=3,
        loss_cls=dict(_delete_=True, type="lidar_rank.SigmoidFocalLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0),
    ),
    train_cfg=dict(assigner=dict(ignore_iof_thr=0.5)),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
