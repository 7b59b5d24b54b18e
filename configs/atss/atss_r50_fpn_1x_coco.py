# mmdet's ATSS for COCO with the losses per image.
_base_ = ["mmdet::atss/atss_r50_fpn_1x_coco.py"]
custom_imports = dict(imports=["lidar_rank.mm"])

model = dict(
    bbox_head=dict(type="lidar_rank.PerImageATSSHead", loss_cls=dict(_delete_=True, type="lidar_rank.SigmoidFocalLoss"))
)
