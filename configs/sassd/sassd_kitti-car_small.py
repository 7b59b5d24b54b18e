# SA-SSD on the patch, the schedule and the data of the small SECOND, so that both compare; a thin network.
_base_ = ["../second/second_kitti-car_small.py", "../_base_/losses/confidence.py"]

point_cloud_range = _base_.point_cloud_range
voxel_size = _base_.voxel_size
norm_momentum = 0.1

model = dict(
    _delete_=True,
    type="lidar_rank.SASSD",
    data_preprocessor=_base_.model.data_preprocessor,
    voxel_encoder=_base_.model.voxel_encoder,
    middle_encoder=dict(
        type="lidar_rank.SparseBackbone",
        channels=(16, 32, 32),
        depths=(1, 2, 2),
        sparse_shape=(20, 384, 384),
        norm_momentum=norm_momentum,
    ),
    backbone=dict(type="lidar_rank.BEVNet", in_channels=160, channels=64, depth=5, norm_momentum=norm_momentum),
    auxiliary=dict(
        type="lidar_rank.AuxiliaryNetwork",
        voxel_size_m=voxel_size,
        point_cloud_range_m=point_cloud_range,
        level_channels=(32, 32),
    ),
    bbox_head=dict(
        type="lidar_rank.SASSDHead",
        num_classes=1,
        in_channels=64,
        feat_channels=64,
        point_cloud_range=point_cloud_range,
        voxel_size=voxel_size,
        # A short training has no time to learn that most anchors are background.
        prior_prob=0.01,
        anchor_generator=_base_.model.bbox_head.anchor_generator,
        loss_cls=dict(type="lidar_rank.SigmoidFocalLoss", scope="image"),
        loss_bbox=dict(_base_.model.bbox_head.loss_bbox, reduction="none"),
        loss_dir=_base_.model.bbox_head.loss_dir,
        part_warping=dict(
            type="lidar_rank.PartSensitiveWarping",
            point_cloud_range_m=point_cloud_range,
            in_channels=64,
            norm_momentum=norm_momentum,
        ),
        loss_part=dict(type="lidar_rank.SigmoidFocalLoss"),
    ),
    train_cfg=dict(
        assigner=dict(type="lidar_rank.AnchorAssigner", pos_iou_thr=0.6, neg_iou_thr=0.45, min_pos_iou=0.0),
        allowed_border=0,
        pos_weight=-1,
    ),
    # Not the authors' 0.3 and confidence alone: on held-out scans the geometric mean of the confidence and the score of
    # the anchor ranks better than either.
    test_cfg=dict(score_thr=0.1, nms_thr=0.1, ranked_by="both"),
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
