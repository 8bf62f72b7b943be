"""Errors of the lab. Each message is a sentence that says what to do."""


class LabError(Exception):
    """Something the lab was asked to do cannot be done."""


class HostGone(LabError):
    """The host stopped, or stopped answering, while a command was running in it."""
