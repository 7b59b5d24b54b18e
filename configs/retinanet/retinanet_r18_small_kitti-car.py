# A thin RetinaNet for the cars in KITTI's images, real or simulated, on one CPU core.
_base_ = ["../_base_/retinanet_r18_small.py", "../_base_/kitti_image_small.py", "../_base_/small.py"]

model = dict(bbox_head=dict(num_classes=1))
metainfo = dict(classes=("Car",))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader

# Cars are small and far between: more steps than the other small configs, in smaller batches of more images.
train_dataloader = dict(batch_size=2, dataset=dict(metainfo=metainfo))
epochs = 4
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[0].total_steps = epochs
