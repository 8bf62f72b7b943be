"""The sessions of a volume among those of the host, as sysfs shows them."""

from pathlib import Path

from csi_lvm_iscsi.commands.runner import ProcessRunner
from csi_lvm_iscsi.initiator.sessions import Sessions
from csi_lvm_iscsi.model import names

VOLUME = "59e3beb5-pvc-1"


def test_all_targets_of_a_volume_and_no_other(tmp_path: Path) -> None:
    own, shared = names.target_iqn(VOLUME), names.target_iqn(VOLUME, "compute-1")
    targets = [own, shared, f"{own}0", names.target_iqn("59e3beb5-pvc-2", "compute-1")]
    for number, target in enumerate(targets, 1):
        device = tmp_path / f"devices/host{number}/session{number}"
        entry = tmp_path / f"class/iscsi_session/session{number}"
        for directory in (device, entry):
            directory.mkdir(parents=True)
        (entry / "device").symlink_to(device)
        (entry / "targetname").write_text(f"{target}\n")
        (entry / "username").write_text("user\n")
    sessions = Sessions(ProcessRunner(), tmp_path)
    assert [session.id for session in sessions.of_volume(VOLUME)] == [1, 2]
    assert [session.id for session in sessions.of(shared)] == [2]
