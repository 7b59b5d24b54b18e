# mmdet's RetinaNet for PASCAL VOC with the losses per image.
_base_ = ["mmdet::pascal_voc/retinanet_r50_fpn_1x_voc0712.py"]
custom_imports = dict(imports=["lidar_rank.mm"])

model = dict(
    bbox_head=dict(
        type="lidar_rank.PerImageRetinaHead",
        loss_cls=dict(_delete_=True, type="lidar_rank.SigmoidFocalLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0),
    )
)
