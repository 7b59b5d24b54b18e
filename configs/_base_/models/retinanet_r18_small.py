# RetinaNet with a quarter of ResNet-18's width, for three classes, from scratch.
_base_ = ["mmdet::_base_/models/retinanet_r50_fpn.py"]
model = dict(
    backbone=dict(depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
    bbox_head=dict(
        type="lidar_rank.PerImageRetinaHead",
        num_classes=3,
        in_channels=32,
        feat_channels=32,
        stacked_convs=2,
        anchor_generator=dict(octave_base_scale=2),  # the images are half as large as the host's
        loss_cls=dict(_delete_=True, type="lidar_rank.SigmoidFocalLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0),
    ),
    train_cfg=dict(assigner=dict(ignore_iof_thr=0.5)),
    test_cfg=dict(score_thr=0.01),
)
