# A short training from scratch on one CPU core. The steps of AdamW do not depend on the scale of a loss.
_base_ = ["mmdet::_base_/default_runtime.py"]
custom_imports = dict(imports=["lidar_rank.mm"])

epochs = 8
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=epochs)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=8e-5, weight_decay=0.01),
    clip_grad=dict(max_norm=35, norm_type=2),
)
one_cycle = dict(type="OneCycleLR", eta_max=2e-3, pct_start=0.3, by_epoch=True, convert_to_iter_based=True)
param_scheduler = [dict(one_cycle, total_steps=epochs)]
custom_hooks = [
    dict(type="NumClassCheckHook"),
    dict(type="lidar_rank.EpochSeedHook"),
    dict(type="lidar_rank.CheckpointFitsHook"),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=2))
