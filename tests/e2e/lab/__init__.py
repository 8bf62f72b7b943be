"""The lab: hosts with real LVM, tgt and open-iscsi, each one a user-mode Linux process group.

    from tests.e2e.lab.lab import Lab

    with Lab() as lab:
        lab.up()
        print(lab.host("storage-1").exec("lvs").stdout.decode())

Nothing is imported here, as the agent inside the hosts wants to start fast.
"""
