"""That a lost or drained node leaves a controller at work."""

from typing import Any

from tests.chart.charts import MINIMAL, find, pods, rendered

_NAME = "csi-lvm-iscsi-controller"


def test_controllers_are_on_several_nodes_and_leave_them_one_at_a_time() -> None:
    objects = rendered(MINIMAL)
    deployment = find(objects, "Deployment", _NAME)["spec"]
    assert deployment["replicas"] == 2
    selector = deployment["selector"]
    assert selector["matchLabels"].items() <= deployment["template"]["metadata"]["labels"].items()
    assert pods(objects)[f"Deployment/{_NAME}"]["affinity"] == {"podAntiAffinity": _apart(selector)}
    budget = find(objects, "PodDisruptionBudget", _NAME)["spec"]
    assert budget == {"maxUnavailable": 1, "selector": selector}


def _apart(selector: dict[str, Any]) -> dict[str, Any]:
    """Preferred only: a cluster of one node has them both there."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"preferredDuringSchedulingIgnoredDuringExecution": preferred}
