# mmdet's RetinaNet for COCO with the losses per image.
_base_ = ["mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"]
custom_imports = dict(imports=["lidar_rank.mm"])

model = dict(
    bbox_head=dict(
        type="lidar_rank.PerImageRetinaHead",
        loss_cls=dict(_delete_=True, type="lidar_rank.SigmoidFocalLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0),
    )
)
