"""The control plane as KubeVirt needs it: an API server that others extend, and that is older."""

from __future__ import annotations

from tests.e2e.lab import pki
from tests.e2e.lab.kubernetes.control_plane import ControlPlane

# KubeVirt 1.6 changes conditions of pods by JSON patches that test for the whole of what was there,
# as far as its client knows: not observedGeneration, which Kubernetes writes there from 1.34 on.
# Such a patch fails, and the virtual machine stays Pending. The gate is locked from 1.35 on; the
# scheduler asks an older API server in vain for what only its own version has, unless told, too.
EMULATED = "--emulated-version=1.34"
GATES = "--feature-gates=PodObservedGenerationTracking=false"


class ExtensibleControlPlane(ControlPlane):
    """One whose API server passes on calls of KubeVirt's subresources to a pod, virt-api."""

    def create(self, nodes: list[str]) -> None:
        super().create(nodes)
        authority = pki.Authority(self._directory / "front-proxy-ca")
        authority.issue_client("front-proxy-client", self._directory / "front-proxy")
        self.options = {
            "kube-apiserver": (EMULATED, GATES, *self._aggregation()),
            "kube-controller-manager": (EMULATED,),
            "kube-scheduler": (EMULATED,),
        }

    def _aggregation(self) -> tuple[str, ...]:
        """How virt-api knows that it is the API server who calls, and on whose behalf."""
        keys = self._directory / "front-proxy"
        return (
            # There is no kube-proxy that would make services' addresses those of pods.
            "--enable-aggregator-routing=true",
            f"--proxy-client-cert-file={keys / 'tls.crt'}",
            f"--proxy-client-key-file={keys / 'tls.key'}",
            f"--requestheader-client-ca-file={keys / 'ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
        )
