"""The operator may patch claims, and a real API server lets it change one annotation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from csi_lvm_iscsi.operator.hotplug.objects import SELECTED_NODE
from csi_lvm_iscsi.storage_client.api_server import ApiError
from tests.chart import cluster
from tests.chart.virtual_machines import CLAIMS, Admin, connect, make_unused_claim

_CLAIM = f"{CLAIMS}/guarded"
_OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "gone", "uid": "0"}
_FORBIDDEN: dict[str, dict[str, Any]] = {
    "an annotation that goes": {"metadata": {"annotations": {"other": None}}},
    "an annotation that changes": {"metadata": {"annotations": {"other": "changed"}}},
    "an annotation that comes": {"metadata": {"annotations": {"another": "new"}}},
    "a label": {"metadata": {"labels": {"new": "label"}}},
    "no finalizers": {"metadata": {"finalizers": None}},
    "an owner that is gone, with which it would be deleted": {
        "metadata": {"ownerReferences": [_OWNER]}
    },
    "another volume": {"spec": {"volumeName": "of-another"}},
}


@pytest.fixture
async def operator(
    installed: cluster.Cluster, admin: Admin, tmp_path: Path
) -> AsyncIterator[Admin]:
    """The operator's account, and a claim without a volume; once the policy is in force."""
    annotations = {"other": "here"}
    await make_unused_claim(admin, "guarded", "csi-lvm-iscsi-thin", annotations=annotations)
    api = await connect(installed.kubeconfig_of("csi-lvm-iscsi-operator", tmp_path))
    async with asyncio.timeout(30):
        while not await _is_denied(api, {"metadata": {"labels": {"try": "it"}}}):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)
    yield api
    await api.close()
    await admin.merge(_CLAIM, {"metadata": {"finalizers": None}})  # nobody is here to take it off
    await admin.delete(_CLAIM)
    await asyncio.sleep(0.25)  # TLS ends some moments after close (aiohttp, "Graceful Shutdown").


async def _is_denied(api: Admin, patch: dict[str, Any]) -> bool:
    try:
        await api.merge(_CLAIM, patch)
    except ApiError as error:
        if "changes nothing of a claim but the annotation" not in str(error):
            raise
        return True
    return False


async def test_the_operator_chooses_a_node_and_changes_no_more(
    operator: Admin, admin: Admin
) -> None:
    assert not await _is_denied(operator, {"metadata": {"annotations": {SELECTED_NODE: "node-1"}}})
    before = await admin.get(_CLAIM)
    assert before["metadata"]["finalizers"]
    for what, patch in _FORBIDDEN.items():
        assert await _is_denied(operator, patch), f"{what}: {json.dumps(patch)}"
    assert await admin.get(_CLAIM) == before
    # Others are not kept from it.
    await admin.merge(_CLAIM, {"metadata": {"labels": {"new": "label"}}})
