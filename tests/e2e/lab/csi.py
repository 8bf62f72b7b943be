"""One CSI call, by the method's name and with its request as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from csi_lvm_iscsi.rpc.pb import csi_pb2
from tests.e2e.lab.errors import LabError

CALL_TIMEOUT = 120.0

WITHOUT_PROXY = [("grpc.enable_http_proxy", 0)]
"""Channel options: gRPC would send even this call to the builder's http_proxy."""


class CallFailed(Exception):
    """The driver answered with an error; `str()` is that error as JSON."""


def call(address: str, method: str, request: str) -> str:
    """Call `method` of whichever CSI service has it, and return its answer as JSON.

    The calling thread must be inside the lab's network.
    """
    descriptor = _find_method(method)
    answer_class = GetMessageClass(descriptor.output_type)
    try:
        message = json_format.Parse(request, GetMessageClass(descriptor.input_type)())
    except json_format.ParseError as error:
        raise LabError(f"That is no JSON of a {descriptor.input_type.name}: {error}") from None
    with grpc.insecure_channel(address, options=WITHOUT_PROXY) as channel:
        stub: Callable[..., Message] = channel.unary_unary(
            f"/{descriptor.containing_service.full_name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_class.FromString,
        )
        try:
            return json_format.MessageToJson(stub(message, timeout=CALL_TIMEOUT))
        except grpc.RpcError as error:
            details = {"code": error.code().name, "message": error.details()}
            raise CallFailed(json.dumps(details)) from None


def _find_method(name: str) -> MethodDescriptor:
    services = csi_pb2.DESCRIPTOR.services_by_name
    methods = {method.name: method for service in services.values() for method in service.methods}
    if name not in methods:
        raise LabError(f"CSI has no method {name}; it has {', '.join(sorted(methods))}.")
    return methods[name]
