# A thin RetinaNet for blood cells, on one CPU core.
_base_ = [
    "../_base_/models/retinanet_r18_small.py",
    "../_base_/data/bccd.py",
    "../_base_/schedules/small_images.py",
    "../_base_/losses/dense.py",
]

# The best of four trials each on held-out blood cells (docs/results/ablation_2d.md): with the weights of the papers,
# which remain as *_paper, the features learn too little about the boxes.
model = dict(bbox_head=dict(loss_cls=dict(loss_weight=0.1)))


def of_scores(**settings):
    return dict(model=dict(bbox_head=dict(loss_cls=settings)))


def beside_focal(loss, weight):
    losses = [dict(type="lidar_rank.SigmoidFocalLoss", loss_weight=0.1), dict(type=loss, loss_weight=weight)]
    return of_scores(losses=losses)


loss_focal = loss_quality_focal = loss_varifocal = loss_iou_balanced = loss_ap = of_scores(loss_weight=0.1)
loss_dr = loss_rank_sort = loss_alrp = of_scores(loss_weight=0.25)
loss_dr_after_focal = of_scores(start=dict(loss_weight=0.1), end=dict(loss_weight=0.25))
loss_rankdet = of_scores(start=dict(loss_weight=0.1), end=dict(loss_weight=0.1))
loss_rankdet_no_iou = loss_rankdet_global = loss_rankdet_class = loss_rankdet  # without trials of their own
loss_focal_rankdet_iou = beside_focal("lidar_rank.IoURankingLoss", weight=0.1)
loss_focal_concordance = beside_focal("lidar_rank.ConcordanceLoss", weight=0.02)
loss_diou = dict(model=dict(bbox_head=dict(loss_bbox=dict(loss_weight=1.0))))
# Its bound keeps the few hard entries of a thin region of gradient norms from having most of the loss.
loss_ghm_c = of_scores(loss_weight=10.0, max_weight=30.0)
loss_ghm = dict(model=dict(bbox_head=dict(loss_ghm_c["model"]["bbox_head"], loss_bbox=dict(mu=0.1))))
