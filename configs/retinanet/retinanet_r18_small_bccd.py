# A thin RetinaNet for blood cells, on one CPU core.
_base_ = [
    "../_base_/models/retinanet_r18_small.py",
    "../_base_/data/bccd.py",
    "../_base_/schedules/small_images.py",
    "../_base_/losses/dense.py",
]

# The best weights of four trials each on held-out blood cells (docs/results/ablation_2d.md): with those of the papers,
# which remain as *_paper, the features learn too little about the boxes.
model = dict(bbox_head=dict(loss_cls=dict(loss_weight=0.1)))
loss_focal = dict(model=dict(bbox_head=dict(loss_cls=dict(loss_weight=0.1))))
loss_dr = dict(model=dict(bbox_head=dict(loss_cls=dict(loss_weight=0.25))))
loss_dr_after_focal = dict(
    model=dict(bbox_head=dict(loss_cls=dict(start=dict(loss_weight=0.1), end=dict(loss_weight=0.25))))
)
loss_rankdet = dict(model=dict(bbox_head=dict(loss_cls=dict(start=dict(loss_weight=0.1), end=dict(loss_weight=0.1)))))
# Its bound keeps the few hard entries of a thin region of gradient norms from having most of the loss.
loss_ghm_c = dict(model=dict(bbox_head=dict(loss_cls=dict(loss_weight=10.0, max_weight=30.0))))
