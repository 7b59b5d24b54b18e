# The losses that a dense head takes.
_base_ = [
    "./ap.py",
    "./dr.py",
    "./focal.py",
    "./ghm.py",
    "./iou-balanced.py",
    "./quality-focal.py",
    "./rankdet.py",
    "./varifocal.py",
]
