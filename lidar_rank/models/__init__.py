"""Detectors that the host lacks, as plain torch modules; each has a folder of its own."""
