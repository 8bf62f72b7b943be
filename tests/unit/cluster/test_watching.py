"""Watches that are lost: what was known stays, and what was missed comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from csi_lvm_iscsi.storage_client import storage_node
from csi_lvm_iscsi.storage_client.watching import Watched, as_it_is
from tests.unit.cluster.fake_api import FakeApi, Object
from tests.unit.cluster.storage_hosts import ADDRESS
from tests.unit.cluster.world import LEASES, SLICES, Kubernetes, endpoint_slice, until


@asynccontextmanager
async def watching(
    kubernetes: Kubernetes, path: str = storage_node.PATH
) -> AsyncIterator[Watched[Object]]:
    watched = Watched(kubernetes.api, path, as_it_is, lambda _: None)
    task = asyncio.create_task(watched.follow())
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.wait({task})


def lists(fake: FakeApi) -> int:
    return fake.requests.count(("GET", storage_node.PATH))


async def test_what_comes_changes_and_goes(kubernetes: Kubernetes) -> None:
    await kubernetes.storage_node("storage-1")
    async with watching(kubernetes) as watched:
        await until(lambda: set(watched.objects) == {"storage-1"})
        assert watched.error == ""
        await kubernetes.storage_node("storage-2")
        await until(lambda: set(watched.objects) == {"storage-1", "storage-2"})
        await kubernetes.patch("storage-2", retired=True)
        await until(lambda: watched.objects["storage-2"]["spec"]["retired"])
        await kubernetes.delete_storage_node("storage-2")
        await until(lambda: set(watched.objects) == {"storage-1"})


async def test_only_what_the_selector_names(kubernetes: Kubernetes) -> None:
    other = endpoint_slice("storage-2", 2)
    other["metadata"]["labels"] = {"kubernetes.io/service-name": "other"}
    await kubernetes.api.create(SLICES, endpoint_slice("storage-1", 1))
    await kubernetes.api.create(SLICES, other)
    cluster = kubernetes.cluster()
    following = asyncio.create_task(cluster.follow())
    await until(cluster.addresses)
    assert cluster.addresses() == {"storage-1": f"{ADDRESS}:1"}
    following.cancel()


async def test_a_closed_connection_is_resumed_from_where_it_was(
    kubernetes: Kubernetes, fake: FakeApi
) -> None:
    await kubernetes.storage_node("storage-1")
    async with watching(kubernetes) as watched:
        await until(lambda: watched.objects and lists(fake) == 2)  # the list and the watch
        fake.cut()
        await kubernetes.storage_node("storage-2")
        await until(lambda: len(watched.objects) == 2)
        assert lists(fake) == 3


async def test_a_version_that_is_forgotten_leads_to_a_new_list(
    kubernetes: Kubernetes, fake: FakeApi
) -> None:
    await kubernetes.storage_node("storage-1")
    async with watching(kubernetes) as watched:
        await until(lambda: watched.objects and lists(fake) == 2)
        fake.cut()
        # Missed: the end of one, and the coming of another.
        await kubernetes.delete_storage_node("storage-1")
        await kubernetes.storage_node("storage-2")
        fake.compact()
        await until(lambda: set(watched.objects) == {"storage-2"})
        await kubernetes.storage_node("storage-3")
        await until(lambda: len(watched.objects) == 2)


async def test_what_is_known_stays_while_the_api_server_is_away(
    kubernetes: Kubernetes, fake: FakeApi
) -> None:
    await kubernetes.storage_node("storage-1")
    async with watching(kubernetes) as watched:
        await until(lambda: watched.objects and lists(fake) == 2)
        fake.down = True
        fake.cut()
        await until(lambda: lists(fake) >= 4)
        assert set(watched.objects) == {"storage-1"}
        assert watched.error == ""
        fake.down = False
        await kubernetes.storage_node("storage-2")
        await until(lambda: len(watched.objects) == 2)


async def test_an_api_that_is_not_there_yet_is_waited_for(kubernetes: Kubernetes) -> None:
    """As the StorageNodes' is until the chart's definition is read."""
    missing = LEASES.replace("leases", "no-such-things")
    async with watching(kubernetes, missing) as watched:
        if kubernetes.fake is None:
            await until(lambda: "answered 404" in watched.error)
        else:
            await until(lambda: watched.error == "")
