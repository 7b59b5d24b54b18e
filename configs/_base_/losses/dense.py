# The losses that a dense head takes.
_base_ = [
    "./alrp.py",
    "./ap.py",
    "./concordance.py",
    "./diou.py",
    "./dr.py",
    "./focal.py",
    "./ghm.py",
    "./iou-balanced.py",
    "./quality-focal.py",
    "./rank-sort.py",
    "./rankdet.py",
    "./varifocal.py",
]
