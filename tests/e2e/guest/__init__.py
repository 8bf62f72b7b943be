"""A Linux guest of QEMU inside a compute host of the lab, into which volumes are plugged."""
