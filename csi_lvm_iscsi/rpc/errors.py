"""The one table between errors of the domain and gRPC status codes, read in both directions."""

import grpc

from csi_lvm_iscsi.model import errors

_CODES: dict[type[errors.DriverError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.OutOfSpace: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DriverError: grpc.StatusCode.INTERNAL,
}
_ERRORS = {code: error for error, code in _CODES.items()}


def status_of(error: Exception) -> grpc.StatusCode:
    """The status of an error: that of the nearest class above it in the table.

    The generated stubs raise NotImplementedError for a verb that a service does not have.
    """
    if isinstance(error, NotImplementedError):
        return grpc.StatusCode.UNIMPLEMENTED
    for cls in type(error).__mro__:
        if cls in _CODES:
            return _CODES[cls]
    return grpc.StatusCode.INTERNAL


def error_of(status: grpc.StatusCode, message: str) -> errors.DriverError:
    """The error that a status stands for, with the message of the other side kept.

    DEADLINE_EXCEEDED and CANCELLED say that no answer came: Unavailable.
    """
    if status in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
        return errors.Unavailable(message)
    return _ERRORS.get(status, errors.DriverError)(message)
