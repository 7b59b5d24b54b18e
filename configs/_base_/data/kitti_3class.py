# Pedestrians, cyclists and cars in KITTI's scans, with the sizes and object samples of mmdet3d's own configuration:
# parts that a config on top of one for cars places.
three_classes = ["Pedestrian", "Cyclist", "Car"]
three_sizes = [[0.8, 0.6, 1.73], [1.76, 0.6, 1.73], [3.9, 1.6, 1.56]]
three_samples = dict(
    classes=three_classes,
    sample_groups=dict(Car=12, Pedestrian=6, Cyclist=6),
    prepare=dict(filter_by_difficulty=[-1], filter_by_min_points=dict(Car=5, Pedestrian=10, Cyclist=10)),
)
