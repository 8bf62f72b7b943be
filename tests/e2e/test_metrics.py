"""The metrics of each role, scraped as Prometheus does."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.driver import MIB, Driver, insist
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.topology import METRICS_PORTS

HOSTS = {"controller": "storage-1", "storage": "storage-1", "node": "compute-1"}
# The builder's proxy does not lead into the lab.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def scrape(lab: Lab, role: str, host: str = "") -> dict[str, float]:
    """All samples of a role, by name and labels as `name{label="value"}`."""
    address = lab.host(host or HOSTS[role]).identity.management_address
    with OPENER.open(f"http://{address}:{METRICS_PORTS[role]}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            samples[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return samples


def test_a_volume_shows_in_the_metrics_of_all_roles(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    pools = {host: pool_of(scrape(lab, "storage", host)) for host in ("storage-1", "storage-2")}
    volume = driver.create(name(), size=64 * MIB)
    driver.publish(volume, "compute-1")
    driver.stage(volume, "compute-1")
    (owner,) = [
        host
        for host, pool in pools.items()
        if pool_of(scrape(lab, "storage", host))["provisioned"] > pool["provisioned"]
    ]
    storage = scrape(lab, "storage", owner)
    assert storage["csi_lvm_iscsi_published_volumes"] == 1
    assert storage["csi_lvm_iscsi_tgtd_up"] == 1
    assert storage["csi_lvm_iscsi_exports_broken"] == 0
    assert storage["csi_lvm_iscsi_exports_compared_timestamp_seconds"] > 0
    before, after = pools[owner], pool_of(storage)
    assert after["provisioned"] - before["provisioned"] == 64 * MIB
    assert before["available"] - after["available"] == 64 * MIB
    assert storage['csi_lvm_iscsi_command_seconds_count{command="lvcreate"}'] >= 1

    node = scrape(lab, "node")
    assert node['csi_lvm_iscsi_sessions{state="LOGGED_IN"}'] == 1
    assert node['csi_lvm_iscsi_sessions{state="FAILED"}'] == 0
    assert node["csi_lvm_iscsi_staged_volumes"] == 1
    assert node["csi_lvm_iscsi_orphan_sessions"] == 0
    assert node['csi_lvm_iscsi_command_seconds_count{command="iscsiadm"}'] >= 2

    controller = scrape(lab, "controller")
    assert controller[f'csi_lvm_iscsi_storage_host_up{{host="{owner}"}}'] == 1
    assert controller['csi_lvm_iscsi_call_seconds_count{method="CreateVolume",status="OK"}'] >= 1

    lab.host(owner).exec("pkill", "-9", "-x", "tgtd").check()
    insist(lambda: driver.unpublish(volume, "compute-2"), "UNAVAILABLE", "ABORTED")
    rebuilt = scrape(lab, "storage", owner)["csi_lvm_iscsi_exports_rebuilt_total"]
    assert rebuilt == storage["csi_lvm_iscsi_exports_rebuilt_total"] + 1

    driver.unstage(volume, "compute-1")
    driver.unpublish(volume, "compute-1")
    driver.delete(volume)
    assert scrape(lab, "node")["csi_lvm_iscsi_staged_volumes"] == 0
    assert scrape(lab, "storage", owner)["csi_lvm_iscsi_published_volumes"] == 0


def pool_of(samples: dict[str, float]) -> dict[str, float]:
    labels = '{thin_pool="pool",volume_group="vg0"}'
    return {
        kind: samples[f"csi_lvm_iscsi_pool_{kind}_bytes{labels}"]
        for kind in ("provisioned", "available", "size")
    }
