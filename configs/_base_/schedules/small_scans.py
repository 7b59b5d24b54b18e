# Short trainings on scans, on two CPU cores: parts that a small config places.
small_range = [0, -19.2, -3, 38.4, 19.2, 1]
# The host's momentum of 0.01 lags hundreds of steps behind the weights, which is most of a short training.
small_norm = dict(eps=1e-3, momentum=0.1)
# Sets that two cores train on are small: below 41 objects the benchmark's sampling of recall cannot reach 100.
small_evaluator = dict(point_cloud_range=small_range, sampling="recall")

# One cycle; the host's peaks of the learning rate are for batches of 48.
small_epochs = 40
small_optimizer = dict(lr=0.0003)
one_cycle = dict(type="OneCycleLR", eta_max=0.003, pct_start=0.4, by_epoch=True, convert_to_iter_based=True)
