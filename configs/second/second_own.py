# SECOND for labelled scans of one's own, up to 70 m in every direction, in the size that trains on a GPU.
_base_ = ["./second_kitti-car.py", "../_base_/data/own_scans.py"]

from lidar_rank.config_files import on_own_scans  # noqa: E402

point_cloud_range = [-70.4, -70.4, -3, 70.4, 70.4, 1]
voxel_layer = dict(point_cloud_range=point_cloud_range, voxel_size=[0.1, 0.1, 0.1], max_voxels=(60000, 90000))
own = on_own_scans(_base_, point_cloud_range, _base_.train_pipeline)
model = dict(
    own["model"],
    data_preprocessor=dict(voxel_layer=voxel_layer),
    middle_encoder=dict(sparse_shape=[41, 1408, 1408]),
    test_cfg=dict(nms_pre=400, max_num=200),
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
