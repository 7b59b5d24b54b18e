# mmdet's RetinaNet for the images of KITTI with the losses per image.
_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "../_base_/models/retinanet.py",
    "../_base_/data/kitti_image.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]
model = dict(
    bbox_head=dict(_base_.retina_head, num_classes=3),
    train_cfg=dict(assigner=dict(ignore_iof_thr=0.5)),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
