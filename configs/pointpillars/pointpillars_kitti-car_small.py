# PointPillars on a patch of 38.4 m x 38.4 m with a thin network: trains on two CPU cores.
_base_ = ["./pointpillars_kitti-car.py", "../_base_/schedules/small_scans.py"]

from lidar_rank.config_files import within_range  # noqa: E402

point_cloud_range = _base_.small_range
norm = dict(_base_.small_norm, type="BN")

model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=point_cloud_range, max_voxels=(8000, 8000))),
    voxel_encoder=dict(
        feat_channels=[32], point_cloud_range=point_cloud_range, norm_cfg=dict(_base_.small_norm, type="BN1d")
    ),
    middle_encoder=dict(in_channels=32, output_shape=[240, 240]),
    backbone=dict(norm_cfg=norm, in_channels=32, layer_nums=[2, 3, 3], out_channels=[32, 64, 64]),
    neck=dict(norm_cfg=norm, in_channels=[32, 64, 64], out_channels=[64, 64, 64]),
    bbox_head=dict(
        in_channels=192,
        feat_channels=192,
        anchor_generator=dict(ranges=[[0, -19.2, -1.78, 38.4, 19.2, -1.78]], align_corner=False),
    ),
)

train_pipeline = within_range(_base_.train_pipeline, point_cloud_range)
test_pipeline = within_range(_base_.test_pipeline, point_cloud_range)
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
val_evaluator = _base_.small_evaluator
test_evaluator = _base_.small_evaluator

optim_wrapper = dict(optimizer=_base_.small_optimizer)
param_scheduler = [dict(_base_.one_cycle, total_steps=_base_.small_epochs)]
train_cfg = dict(max_epochs=_base_.small_epochs, val_interval=10)
