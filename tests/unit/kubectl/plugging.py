"""Words that attach and detach a claim, and states of the VolumeHotplug that does so."""

from tests.unit.kubectl.objects import TIME, Object, hotplug

ATTACH = ("attach", "data", "--vm", "c2")
DETACH = ("detach", "data", "--vm", "c2")
NEW, ATTACHED = hotplug("data", "c2"), hotplug("data", "c2", "Attached")


def modified(found: Object) -> Object:
    return {"type": "MODIFIED", "object": found}


def waits(message: str) -> Object:
    return hotplug("data", "c2", "Attaching", message)


def leaving(found: Object) -> Object:
    return {**found, "metadata": {**found["metadata"], "deletionTimestamp": TIME}}


def named(name: str, found: Object, **more: str) -> Object:
    return {**found, "metadata": {**found["metadata"], "name": name, **more}}
