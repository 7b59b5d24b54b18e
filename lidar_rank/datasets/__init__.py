"""KITTI files, calibration, preparation and simulation."""
