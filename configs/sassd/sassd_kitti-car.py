# SA-SSD for KITTI cars, as its authors train it; data, evaluation and hooks are those of SECOND.
_base_ = ["../second/second_kitti-car.py", "../_base_/losses/confidence.py"]

point_cloud_range = [0, -40, -3, 70.4, 40, 1]
voxel_size = [0.05, 0.05, 0.1]

model = dict(
    _delete_=True,
    type="lidar_rank.SASSD",
    data_preprocessor=dict(
        type="Det3DDataPreprocessor",
        voxel=True,
        voxel_layer=dict(
            max_num_points=5,
            point_cloud_range=point_cloud_range,
            voxel_size=voxel_size,
            max_voxels=(20000, 20000),
        ),
    ),
    voxel_encoder=dict(type="HardSimpleVFE"),
    middle_encoder=dict(
        type="lidar_rank.SparseBackbone",
        channels=(16, 32, 64, 64),
        depths=(2, 2, 3, 3),
        sparse_shape=(40, 1600, 1408),
    ),
    backbone=dict(type="lidar_rank.BEVNet", in_channels=320, channels=256, depth=7),
    auxiliary=dict(
        type="lidar_rank.AuxiliaryNetwork",
        voxel_size_m=voxel_size,
        point_cloud_range_m=point_cloud_range,
        level_channels=(32, 64, 64),
    ),
    bbox_head=dict(
        type="lidar_rank.SASSDHead",
        num_classes=1,
        in_channels=256,
        feat_channels=256,
        point_cloud_range=point_cloud_range,
        voxel_size=voxel_size,
        anchor_generator=dict(
            type="AlignedAnchor3DRangeGenerator",
            ranges=[[0, -40.0, -1.78, 70.4, 40.0, -1.78]],
            sizes=[[3.9, 1.6, 1.56]],
            rotations=[0, 1.57],
        ),
        loss_cls=dict(type="lidar_rank.SigmoidFocalLoss", scope="image"),
        loss_bbox=dict(type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0, loss_weight=2.0, reduction="none"),
        loss_dir=dict(type="mmdet.CrossEntropyLoss", use_sigmoid=False, loss_weight=0.2),
        part_warping=dict(
            type="lidar_rank.PartSensitiveWarping", point_cloud_range_m=point_cloud_range, in_channels=256
        ),
        loss_part=dict(type="lidar_rank.SigmoidFocalLoss"),
    ),
    train_cfg=dict(
        assigner=dict(type="lidar_rank.AnchorAssigner", pos_iou_thr=0.6, neg_iou_thr=0.45, min_pos_iou=0.0),
        allowed_border=0,
        pos_weight=-1,
    ),
    test_cfg=dict(score_thr=0.3, nms_thr=0.1),
)
# Scores that are only compared with each other start in the middle and stay higher than those of focal loss.
loss_dr = dict(model=dict(bbox_head=dict(proposal_score_thr=0.6)))
loss_ap = loss_alrp = loss_rank_sort = loss_dr
loss_dr_paper = loss_ap_paper = loss_alrp_paper = loss_rank_sort_paper = loss_dr
# Focal loss is normalised scan by scan, also as a warm-up and within a sum, and so are box losses that allow it.
loss_iou_balanced = dict(model=dict(bbox_head=dict(loss_bbox=dict(reduction="none"))))
loss_diou = loss_odiou = loss_iou_balanced_paper = loss_iou_balanced
per_box = dict(
    losses=[
        dict(type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0, loss_weight=2.0, reduction="none"),
        dict(type="lidar_rank.RotatedIoULoss", kind="iou", reduction="none"),
    ]
)
loss_box_iou = dict(model=dict(bbox_head=dict(loss_bbox=per_box)))
loss_focal = dict(model=dict(bbox_head=dict(loss_cls=dict(scope="image"))))
loss_focal_paper = loss_focal
loss_quality_focal = loss_quality_focal_paper = loss_focal
loss_varifocal = loss_varifocal_paper = loss_focal
warm_up = dict(model=dict(bbox_head=dict(loss_cls=dict(start=dict(scope="image")))))
loss_rankdet = warm_up
loss_rankdet_paper = warm_up
loss_rankdet_no_iou = warm_up
loss_rankdet_global = warm_up
loss_rankdet_class = warm_up
loss_dr_after_focal = warm_up


def beside_focal(loss, weight):
    focal = dict(type="lidar_rank.SigmoidFocalLoss", scope="image")
    return dict(model=dict(bbox_head=dict(loss_cls=dict(losses=[focal, dict(type=loss, loss_weight=weight)]))))


loss_focal_rankdet_iou = beside_focal("lidar_rank.IoURankingLoss", weight=0.5)
loss_focal_concordance = loss_focal_concordance_paper = beside_focal("lidar_rank.ConcordanceLoss", weight=0.2)

# Vans count as cars once cars have been pasted in. Points stay in order, pasted ones first: where a voxel is full, the
# first come stay.
vans_are_cars = dict(type="lidar_rank.MergeClasses", labels={1: 0})
train_pipeline = [
    part
    for step in _base_.train_pipeline
    if step.type != "PointShuffle"
    for part in ([step, vans_are_cars] if step.type == "ObjectSample" else [step])
]
train_dataloader = dict(
    batch_size=2, dataset=dict(dataset=dict(pipeline=train_pipeline, metainfo=dict(classes=["Car", "Van"])))
)

# 80 epochs, as every scan comes twice in one; Adam with true weight decay, one cycle of its rate and momentum.
epochs, peak = 40, 16
optim_wrapper = dict(optimizer=dict(lr=0.0003, betas=(0.95, 0.99), weight_decay=0.01))
param_scheduler = [
    dict(
        type="OneCycleLR",
        eta_max=0.003,
        total_steps=epochs,
        pct_start=peak / epochs,
        div_factor=10,
        final_div_factor=1e4,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    *(
        dict(
            type="CosineAnnealingMomentum",
            eta_min=momentum,
            begin=begin,
            end=end,
            T_max=end - begin,
            by_epoch=True,
            convert_to_iter_based=True,
        )
        for momentum, begin, end in ((0.85, 0, peak), (0.95, peak, epochs))
    ),
]
