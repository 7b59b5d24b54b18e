# As the paper trains RankDetNet: its losses from the weights that second_kitti-car_small.py has learnt with focal loss.
_base_ = ["./second_kitti-car_small.py"]

load_from = "work_dirs/second_kitti-car_small/epoch_40.pth"
model = dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="lidar_rank.RankDetLoss")))

epochs = 12
optim_wrapper = dict(optimizer=dict(lr=0.00003))
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs, eta_max=0.0003)]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
