# SECOND for labelled scans of one's own, up to 41 m in every direction: the network of second_kitti-car_tiny, which
# trains on two CPU cores. With one class it can start from the weights that come with the package: --init second-car.
_base_ = ["./second_kitti-car_tiny.py", "../_base_/data/own_scans.py"]

point_cloud_range = [-40.96, -40.96, -3, 40.96, 40.96, 1]
ranges = [[*point_cloud_range[:2], bottom, *point_cloud_range[3:5], bottom] for bottom in _base_.own_bottoms_m]
model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=point_cloud_range, max_voxels=(40000, 40000))),
    middle_encoder=dict(sparse_shape=[21, 512, 512]),
    bbox_head=dict(
        num_classes=len(_base_.own_classes),
        anchor_generator=dict(ranges=ranges, sizes=_base_.own_sizes, reshape_out=False),
    ),
    train_cfg=dict(assigner=_base_.own_assigners),
    test_cfg=dict(nms_pre=200, max_num=100),
)


def on_own(pipeline):
    for step in pipeline:
        on_own(step.get("transforms", []))
        if "point_cloud_range" in step:
            step.point_cloud_range = point_cloud_range
        if step.type == "ObjectSample":
            step.db_sampler = dict(step.db_sampler, **_base_.own_samples)
    return pipeline


train_pipeline = on_own(_base_.mild_car_pipeline)
test_pipeline = on_own(_base_.test_pipeline)
train_dataloader = dict(dataset=dict(dataset=dict(**_base_.own_dataset, pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(**_base_.own_dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(**_base_.own_ap, point_cloud_range=point_cloud_range)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best=_base_.own_best))

epochs = 40
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs)]
train_cfg = dict(max_epochs=epochs, val_interval=5)
