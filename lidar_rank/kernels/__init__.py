"""Numba functions on plain arrays. The layers above check the inputs."""
