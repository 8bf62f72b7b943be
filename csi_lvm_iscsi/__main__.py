"""`python -m csi_lvm_iscsi` is the command `csi-lvm-iscsi`."""

from csi_lvm_iscsi.cli import main

main()
