# KITTI's scans, exact evaluation and resumable epochs: parts that a config on top of mmdet3d's own places.
# The data set lies at data/kitti, or where the environment variable KITTI_ROOT says.
kitti_root = "{{$KITTI_ROOT:data/kitti}}"
kitti_database = dict(
    type="lidar_rank.ObjectDatabase", data_root=kitti_root, info_path=kitti_root + "/kitti_dbinfos_train.pkl"
)
kitti_ap = dict(_delete_=True, type="lidar_rank.KittiAP", data_root=kitti_root)

custom_hooks = [dict(type="lidar_rank.EpochSeedHook"), dict(type="lidar_rank.CheckpointFitsHook")]
kitti_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=1, max_keep_ckpts=2, save_best="kitti/Car/3d/R40/moderate", rule="greater"),
)
kitti_visualizer = dict(
    _delete_=True,
    _scope_="mmengine",  # scope mmdet3d imports Open3D, dash and trimesh, which takes more than a second
    type="Visualizer",
    vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")],
)
