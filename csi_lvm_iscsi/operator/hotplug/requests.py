"""Asks for what was decided: KubeVirt, and for a volume where there is none yet."""

from http import HTTPStatus

from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.operator.hotplug import objects, unbound, ways
from csi_lvm_iscsi.operator.hotplug.decision import Decision
from csi_lvm_iscsi.operator.hotplug.inquiries import Inquiries
from csi_lvm_iscsi.operator.hotplug.ways import Way
from csi_lvm_iscsi.operator.hotplug.world import Action, Refusal, World
from csi_lvm_iscsi.storage_client.api_server import ApiError, ApiServer, Object

_VIRTUAL_MACHINES = "/apis/kubevirt.io/v1"


class Requests:
    """Requests to KubeVirt, or to who makes volumes."""

    def __init__(self, api: ApiServer, inquiries: Inquiries) -> None:
        self._api = api
        self._inquiries = inquiries

    async def make(self, world: World, decided: Decision, action: Action) -> Refusal | None:
        """Ask for the action of a decision; why it was not done, or None. That is also where
        somebody else was faster: what was observed is old then, and to be decided anew."""
        try:
            await self._make(world, decided.volume_name, action)
        except Unavailable as error:
            return Refusal(action, str(error), is_away=True, is_unanswered=True)
        except ApiError as error:
            if await self._is_overtaken(world, error):
                return None
            is_away = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            is_for_kubevirt = action is not Action.CHOOSE_NODE
            return Refusal(
                action,
                f"KubeVirt did not do it. {error}" if is_for_kubevirt else str(error),
                is_away=is_away,
                is_unanswered=_is_from_between(error),
            )
        return None

    async def _make(self, world: World, name: str, action: Action) -> None:
        if action is Action.CHOOSE_NODE:
            await self._choose_node(world)
            return
        if action is Action.REMOVE_FROM_INSTANCE:
            await self._remove(world, name, of_instance=True)
            return
        if world.machine is None:
            return
        is_edited = world.way is not Way.IMPERATIVE
        match action:
            case Action.ADD if is_edited:
                await self._patch(
                    world, ways.adding(world.hotplug, world.machine, name, world.serial)
                )
            case Action.ADD:
                body = ways.adding_options(world.hotplug, name, world.serial)
                await self._api.replace(ways.subresource(world.hotplug, "addvolume"), body)
            case Action.REMOVE if is_edited:
                await self._patch(world, ways.removing(world.machine, name))
            case Action.REMOVE:
                await self._remove(world, name, of_instance=False)

    async def _choose_node(self, world: World) -> None:
        """Let the claim's volume be made as the scheduler does it: kube-controller-manager then
        passes the claim on to the provisioner."""
        if world.claim is None:
            return
        metadata = {
            "resourceVersion": world.claim.version,
            "annotations": {objects.SELECTED_NODE: unbound.node_to_choose(world)},
        }
        namespace, name = world.hotplug.namespace, world.hotplug.claim
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
        await self._api.merge(path, {"metadata": metadata})

    async def _patch(self, world: World, operations: list[Object]) -> None:
        namespace, name = world.hotplug.namespace, world.hotplug.machine
        path = f"{_VIRTUAL_MACHINES}/namespaces/{namespace}/virtualmachines/{name}"
        await self._api.patch(path, operations)

    async def _remove(self, world: World, name: str, *, of_instance: bool) -> None:
        path = ways.subresource(world.hotplug, "removevolume", of_instance=of_instance)
        await self._api.replace(path, {"name": name})

    async def _is_overtaken(self, world: World, error: ApiError) -> bool:
        """Whether the request was refused as the machine was no more what we took it for."""
        if error.status == HTTPStatus.CONFLICT:
            return True
        if error.status not in (HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_FOUND):
            return False
        # A test in a JSON patch that fails is answered like a webhook that refuses: 422.
        machine = await self._inquiries.machine(world.hotplug)
        return machine is None or world.machine is None or machine.version != world.machine.version


def _is_from_between(error: ApiError) -> bool:
    """Whether it was the API server that gave up on virt-api, which may have got the request.

    Not so where there is no virt-api to pass it on to (kube-aggregator,
    pkg/apiserver/handler_proxy.go: "service unavailable").
    """
    gave_up = (
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    )
    nobody = ("service unavailable", "no endpoints available")
    return error.status in gave_up and not any(each in str(error).lower() for each in nobody)
