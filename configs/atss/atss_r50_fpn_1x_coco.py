# mmdet's ATSS for COCO with the losses per image.
_base_ = [
    "mmdet::atss/atss_r50_fpn_1x_coco.py",
    "../_base_/losses/dr.py",
    "../_base_/losses/focal.py",
    "../_base_/losses/rankdet.py",
]
custom_imports = dict(imports=["lidar_rank.mm"])

model = dict(bbox_head=dict(_base_.loss_focal.model.bbox_head, type="lidar_rank.PerImageATSSHead"))
