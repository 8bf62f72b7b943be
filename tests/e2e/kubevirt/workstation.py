"""A user's workstation: kubectl with the driver's plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from csi_lvm_iscsi.kubectl import plugin
from tests.e2e.kubernetes.user import User
from tests.e2e.lab.kubernetes.builds import BIN

PATIENCE = 300


def lvmiscsi(user: User, *words: str, status: int = 0) -> str:
    """What `kubectl lvmiscsi` prints in the user's namespace, ending with this exit status; its
    file needs nothing of ours."""
    command = [sys.executable, "-I", "-S", str(Path(plugin.__file__)), "-n", user.namespace, *words]
    done = subprocess.run(
        user.cluster.network.command(*command),
        env={
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "KUBECONFIG": str(user.cluster.control_plane.kubeconfig()),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout
