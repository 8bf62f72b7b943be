"""Errors of the guest."""

from tests.e2e.lab.errors import LabError


class GuestError(LabError):
    """QEMU or the guest did not do what it was asked."""
