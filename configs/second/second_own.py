# SECOND for labelled scans of one's own, up to 70 m in every direction, in the size that trains on a GPU.
_base_ = ["./second_kitti-car.py", "../_base_/data/own_scans.py"]

point_cloud_range = [-70.4, -70.4, -3, 70.4, 70.4, 1]
ranges = [[*point_cloud_range[:2], bottom, *point_cloud_range[3:5], bottom] for bottom in _base_.own_bottoms_m]
voxel_layer = dict(point_cloud_range=point_cloud_range, voxel_size=[0.1, 0.1, 0.1], max_voxels=(60000, 90000))
model = dict(
    data_preprocessor=dict(voxel_layer=voxel_layer),
    middle_encoder=dict(sparse_shape=[41, 1408, 1408]),
    bbox_head=dict(
        num_classes=len(_base_.own_classes),
        anchor_generator=dict(ranges=ranges, sizes=_base_.own_sizes, reshape_out=False),
    ),
    train_cfg=dict(assigner=_base_.own_assigners),
    test_cfg=dict(nms_pre=400, max_num=200),
)


def on_own(pipeline):
    for step in pipeline:
        on_own(step.get("transforms", []))
        if "point_cloud_range" in step:
            step.point_cloud_range = point_cloud_range
        if step.type == "ObjectSample":
            step.db_sampler = dict(step.db_sampler, **_base_.own_samples)
    return pipeline


train_pipeline = on_own(_base_.train_pipeline)
test_pipeline = on_own(_base_.test_pipeline)
train_dataloader = dict(dataset=dict(dataset=dict(**_base_.own_dataset, pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(**_base_.own_dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(**_base_.own_ap, point_cloud_range=point_cloud_range)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best=_base_.own_best))
