"""Registries of scope ``lidar_rank``: any host's config may name ``lidar_rank.DRLoss``, no host's name is shadowed."""

from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPERS as ROOT_OPTIM_WRAPPERS
from mmengine.registry import TASK_UTILS as ROOT_TASK_UTILS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import Registry

SCOPE = "lidar_rank"

MODELS = Registry("model", parent=ROOT_MODELS, scope=SCOPE)
DATASETS = Registry("dataset", parent=ROOT_DATASETS, scope=SCOPE)
METRICS = Registry("metric", parent=ROOT_METRICS, scope=SCOPE)
HOOKS = Registry("hook", parent=ROOT_HOOKS, scope=SCOPE)
OPTIM_WRAPPERS = Registry("optim wrapper", parent=ROOT_OPTIM_WRAPPERS, scope=SCOPE)
TASK_UTILS = Registry("task util", parent=ROOT_TASK_UTILS, scope=SCOPE)
TRANSFORMS = Registry("transform", parent=ROOT_TRANSFORMS, scope=SCOPE)
