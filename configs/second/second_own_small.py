# SECOND for labelled scans of one's own, up to 41 m in every direction: the network of second_kitti-car_tiny, which
# trains on two CPU cores. With one class it can start from weights that come with the package: --init second-car-tiny.
_base_ = ["./second_kitti-car_tiny.py", "../_base_/data/own_scans.py"]

from lidar_rank.config_files import on_own_scans  # noqa: E402

point_cloud_range = [-40.96, -40.96, -3, 40.96, 40.96, 1]
own = on_own_scans(_base_, point_cloud_range, _base_.mild_car_pipeline)
model = dict(
    own["model"],
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=point_cloud_range, max_voxels=(40000, 40000))),
    middle_encoder=dict(sparse_shape=[21, 512, 512]),
    test_cfg=dict(nms_pre=200, max_num=100),
)
train_pipeline = own["train_pipeline"]
test_pipeline = own["test_pipeline"]
train_dataloader = own["train_dataloader"]
val_dataloader = own["val_dataloader"]
test_dataloader = own["test_dataloader"]
val_evaluator = own["val_evaluator"]
test_evaluator = own["test_evaluator"]
default_hooks = own["default_hooks"]
del own

epochs = 40
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs)]
train_cfg = dict(max_epochs=epochs, val_interval=5)
