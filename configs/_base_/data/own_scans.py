# Labelled scans of one's own without a camera, all around the sensor: parts that a config places. The root lies at
# data/own, or where the environment variable KITTI_ROOT says. Classes, sizes of anchors and the heights at which they
# stand are those that `lidar-rank create-data` has measured; a training writes them into the config in its work folder.
_base_ = []  # without this line mmengine takes a file that imports something for one of its lazy configs

from lidar_rank.kitti.classes import read_statistics  # noqa: E402

own_root = "{{$KITTI_ROOT:data/own}}"
statistics = read_statistics(own_root)
own_classes = list(statistics)
own_sizes = [list(found.size_m) for found in statistics.values()]
own_bottoms_m = [found.z_bottom_m for found in statistics.values()]
del statistics

# Boxes of small objects overlap anchors on a grid less: KITTI's thresholds of pedestrians up to 2.5 m, of cars beyond.
small_object = dict(type="lidar_rank.AnchorAssigner", pos_iou_thr=0.35, neg_iou_thr=0.2, min_pos_iou=0.2)
large_object = dict(type="lidar_rank.AnchorAssigner", pos_iou_thr=0.6, neg_iou_thr=0.45, min_pos_iou=0.45)
own_assigners = [large_object if size[0] > 2.5 else small_object for size in own_sizes]
own_samples = dict(
    data_root=own_root,
    info_path=own_root + "/kitti_dbinfos_train.pkl",
    classes=own_classes,
    sample_groups=dict.fromkeys(own_classes, 10),
    prepare=dict(filter_by_difficulty=[-1], filter_by_min_points=dict.fromkeys(own_classes, 5)),
)
own_dataset = dict(
    type="lidar_rank.LidarDataset",
    data_root=own_root,
    data_prefix=dict(pts="training/velodyne"),
    metainfo=dict(classes=own_classes),
)
own_ap = dict(_delete_=True, type="lidar_rank.DistanceAP", data_root=own_root, bands_m=[0, 30, 50])
own_best = "lidar/mean/3d/R40/all"
