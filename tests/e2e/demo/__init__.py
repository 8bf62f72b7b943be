"""`make demo`: the main job of the driver, told as it happens in a lab."""
