"""Bare numba functions on bare arrays; checks and shapes live in the layers above."""
