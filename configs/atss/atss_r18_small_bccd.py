# A thin ATSS for blood cells, on one CPU core.
_base_ = [
    "../_base_/models/retinanet_r18_small.py",
    "../_base_/data/bccd.py",
    "../_base_/schedules/small_images.py",
    "../_base_/losses/dr.py",
    "../_base_/losses/focal.py",
    "../_base_/losses/rankdet.py",
]

# The best weights of RetinaNet on these images; *_paper has those of the papers.
loss_focal = dict(model=dict(bbox_head=dict(loss_cls=dict(loss_weight=0.1))))
loss_dr = dict(model=dict(bbox_head=dict(loss_cls=dict(loss_weight=0.25))))
loss_dr_after_focal = dict(
    model=dict(bbox_head=dict(loss_cls=dict(start=dict(loss_weight=0.1), end=dict(loss_weight=0.25))))
)
loss_rankdet = dict(model=dict(bbox_head=dict(loss_cls=dict(start=dict(loss_weight=0.1), end=dict(loss_weight=0.1)))))
beside_focal = [
    dict(type="lidar_rank.SigmoidFocalLoss", loss_weight=0.1),
    dict(type="lidar_rank.IoURankingLoss", loss_weight=0.1),
]
loss_focal_rankdet_iou = dict(model=dict(bbox_head=dict(loss_cls=dict(losses=beside_focal))))
loss_rankdet_no_iou = loss_rankdet_global = loss_rankdet_class = loss_rankdet

model = dict(
    type="ATSS",
    neck=dict(add_extra_convs="on_output"),
    bbox_head=dict(
        type="lidar_rank.PerImageATSSHead",
        norm_cfg=dict(type="GN", num_groups=8),
        anchor_generator=dict(octave_base_scale=8, scales_per_octave=1, ratios=[1.0]),
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(loss_weight=0.1),
        loss_bbox=dict(_delete_=True, type="GIoULoss", loss_weight=2.0),
    ),
    train_cfg=dict(assigner=dict(_delete_=True, type="ATSSAssigner", topk=9)),
    test_cfg=dict(nms=dict(iou_threshold=0.6)),
)
