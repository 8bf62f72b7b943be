"""A CSI driver that gives pods and virtual machines LVM volumes over iSCSI.

Rooms, by where code runs: `controller`, `storage`, `node`. Below them `storage_client`,
then `rpc`, `commands` and `records`, then `model`. A room imports only from rooms below it
(docs/design.md; held by import-linter).
"""

__version__ = "0.1.0"
