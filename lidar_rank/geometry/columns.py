"""The columns of a box, for numpy arrays and torch tensors alike."""

from typing import Final

BOX_COLUMNS: Final = ("x", "y", "z_bottom", "length", "width", "height", "yaw")
BEV_COLUMNS: Final = ("x", "y", "length", "width", "yaw")
BEV_OF_3D: Final = [BOX_COLUMNS.index(column) for column in BEV_COLUMNS]
"""Columns of a 3D box that make up its box seen from above."""
