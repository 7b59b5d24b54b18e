"""Boxes, frames and rotated overlap: numpy + numba for pairs of sets, torch where gradients are needed."""
