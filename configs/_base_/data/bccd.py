# Blood cells (github.com/Shenggan/BCCD_Dataset): 364 microscope images, 3 classes, in the format of VOC.
# The environment variable BCCD_ROOT says where the folders Annotations, ImageSets and JPEGImages lie.
data_root = "{{$BCCD_ROOT:data/BCCD}}/"
metainfo = dict(classes=("RBC", "WBC", "Platelets"), palette=[(220, 20, 60), (106, 0, 228), (255, 170, 0)])
scale = (320, 240)  # half their size

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1, 1)),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "instances"),
    ),
]
dataset = dict(type="VOCDataset", data_root=data_root, metainfo=metainfo, data_prefix=dict(sub_data_root=""))
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**dataset, ann_file="ImageSets/Main/train.txt", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, ann_file="ImageSets/Main/test.txt", test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type="CocoMetric", classwise=True), dict(type="VOCMetric", eval_mode="area")]
test_evaluator = val_evaluator
