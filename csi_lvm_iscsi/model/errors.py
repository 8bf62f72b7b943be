"""What can go wrong, in the words of the domain.

The message of each error is shown to the user (sidecars publish it as the event on the PVC), so
it is a sentence that tells what to do. The room `rpc` knows which gRPC status each class becomes;
no other room does.
"""


class DriverError(Exception):
    """Something that the driver expected could happen. Raised as itself: a fault on our side."""


class InvalidArgument(DriverError):
    """The request itself is wrong; sending it again cannot help."""


class NotFound(DriverError):
    """The volume, node or path that was named is not there."""


class AlreadyExists(DriverError):
    """The name is taken by something that does not fit the request."""


class FailedPrecondition(DriverError):
    """The state forbids it until something else is done first."""


class OutOfRange(DriverError):
    """No volume of this size can exist here."""


class OutOfSpace(DriverError):
    """There is no space for it now."""


class Aborted(DriverError):
    """It collided with something; begin again."""


class Busy(Aborted):
    """Another operation on the same volume is running; call again."""


class Unavailable(DriverError):
    """A host or daemon that is needed does not answer; call again."""


class TookTooLong(Unavailable):
    """A bounded wait ran out; call again."""
