"""Secrets of a namespace in Kubernetes."""

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

import structlog
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from csi_lvm_iscsi.model.errors import DriverError

Data = Mapping[str, bytes]
_SECONDS = 20.0
_TRIES = 5
_LABELS = {
    "app.kubernetes.io/name": "csi-lvm-iscsi",
    "app.kubernetes.io/managed-by": "csi-lvm-iscsi-bootstrap",
}
_log = structlog.get_logger()


def connect() -> client.CoreV1Api:
    """The API server, as the service account of the pod or, outside of a cluster, by the user's
    kubeconfig. Raises DriverError where there is neither."""
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
    load = config.load_incluster_config if in_cluster else config.load_kube_config
    try:
        load()
    except config.ConfigException as error:
        raise DriverError(
            f"There is no way to the API server ({error}): run this in a pod with a service "
            "account, or set KUBECONFIG."
        ) from error
    return client.CoreV1Api()


class Secrets:
    """The Secrets of one namespace. What is in them is never logged."""

    def __init__(self, api: client.CoreV1Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    def ensure(self, name: str, kind: str, decide: Callable[[Data], Data]) -> Data:
        """Have in a Secret what `decide` makes of what is in it, nothing where it is not there; and
        return that.

        Where another writes it meanwhile, `decide` is asked again with what that one wrote. Raises
        DriverError where the API server refuses or does not answer.
        """
        for _ in range(_TRIES):
            found = self._read(name)
            data = _data(found)
            wanted = decide(data)
            if found is not None and wanted == data:
                return wanted
            if self._write(name, kind, found, wanted):
                _log.info("secret made" if found is None else "secret renewed", secret=name)
                return wanted
        raise DriverError(
            f"Secret {self._namespace}/{name} is changed by others again and again: find out who "
            "writes it, then run this again."
        )

    def _read(self, name: str) -> client.V1Secret | None:
        with self._explained(name, "read"):
            try:
                return self._api.read_namespaced_secret(
                    name, self._namespace, _request_timeout=_SECONDS
                )
            except ApiException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
        return None

    def _write(self, name: str, kind: str, found: client.V1Secret | None, data: Data) -> bool:
        """Write it; False where another was faster."""
        secret = client.V1Secret(
            # With the resourceVersion of what was found: the API server refuses another's.
            metadata=found.metadata if found else client.V1ObjectMeta(name=name, labels=_LABELS),
            type=kind,
            data={key: base64.b64encode(value).decode() for key, value in data.items()},
        )
        with self._explained(name, "written"):
            try:
                if found is None:
                    self._api.create_namespaced_secret(
                        self._namespace, secret, _request_timeout=_SECONDS
                    )
                else:
                    self._api.replace_namespaced_secret(
                        name, self._namespace, secret, _request_timeout=_SECONDS
                    )
            except ApiException as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
                return False
        return True

    @contextmanager
    def _explained(self, name: str, doing: str) -> Iterator[None]:
        try:
            yield
        except ApiException as error:
            raise DriverError(
                f"Secret {self._namespace}/{name} cannot be {doing}: the API server says "
                f"{error.status} {error.reason}. See the Role of this service account, and that "
                "the namespace is there."
            ) from None  # its text has the whole answer
        except (HTTPError, OSError) as error:
            raise DriverError(
                f"The API server does not answer ({error}): run this again."
            ) from error


def _data(secret: client.V1Secret | None) -> Data:
    if secret is None:
        return {}
    return {key: base64.b64decode(value) for key, value in (secret.data or {}).items()}
