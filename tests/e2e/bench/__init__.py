"""Measurements: the driver beside the bare commands, and its memory, in one run of the lab."""
