# A thin RetinaNet for the cars in KITTI's images, real or simulated, at half their size, on one CPU core.
_base_ = [
    "../_base_/models/retinanet_r18_small.py",
    "../_base_/data/kitti_image.py",
    "../_base_/schedules/small_images.py",
    "../_base_/losses/dense.py",
]


def of_scores(**settings):
    return dict(model=dict(bbox_head=dict(loss_cls=settings)))


# The best of 14 trials each on held-out simulated images (docs/results/ablation_2d_cars.md), at the rate below.
# From so few small objects scores learn slowly: focal loss needs more weight than in its paper, which *_paper has.
model = dict(bbox_head=dict(num_classes=1, loss_cls=dict(loss_weight=8.0)))
loss_focal = of_scores(loss_weight=8.0)
loss_rankdet = of_scores(start=dict(loss_weight=8.0), end=dict(loss_weight=4.0))
loss_rank_sort = of_scores(loss_weight=0.25)


def beside_focal(loss, weight):
    losses = [dict(type="lidar_rank.SigmoidFocalLoss", loss_weight=8.0), dict(type=loss, loss_weight=weight)]
    return of_scores(losses=losses)


# These had no trials. What they have of focal loss and of RankDet has the weights from above.
loss_quality_focal = loss_varifocal = loss_iou_balanced = loss_focal
loss_rankdet_no_iou = loss_rankdet_global = loss_rankdet_class = loss_rankdet
loss_dr_after_focal = of_scores(start=dict(loss_weight=8.0))
loss_focal_rankdet_iou = beside_focal("lidar_rank.IoURankingLoss", weight=4.0)
loss_focal_concordance = beside_focal("lidar_rank.ConcordanceLoss", weight=1.6)

half = dict(scale=(640, 192))
train_pipeline = [dict(step, **half) if step.type == "Resize" else step for step in _base_.train_pipeline]
test_pipeline = [dict(step, **half) if step.type == "Resize" else step for step in _base_.test_pipeline]
metainfo = dict(classes=("Car",))
# Cars are small and far between: more steps than the other small configs, in smaller batches of more images.
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(pipeline=train_pipeline, metainfo=metainfo))
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(pipeline=test_pipeline, metainfo=metainfo))
test_dataloader = val_dataloader
epochs = 4
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
optim_wrapper = dict(optimizer=dict(lr=4e-5))
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs, eta_max=1e-3)]
