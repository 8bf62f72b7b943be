"""Tests of the driver's volumes in virtual machines of KubeVirt."""
