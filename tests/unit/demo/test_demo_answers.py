from tests.e2e.demo.answers import of_targets

SHOWN = """\
Target 1704470977: iqn.example:disk
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 1
            Initiator: iqn.example:node.compute-1 alias: compute-1
            Connection: 0
                IP Address: 10.77.0.101
    LUN information:
        LUN: 0
            Type: controller
            SCSI SN: beaf18164978020
            Size: 0 MB, Block size: 1
        LUN: 1
            Type: disk
            SCSI SN: 5927d3d1a4087217a5d49162492da85
            Size: 268 MB, Block size: 512
            Online: Yes
            Backing store path: /dev/mapper/vg0-disk
            Backing store flags: direct
    Account information:
        v5927d3d1
    ACL information:
        iqn.example:node.compute-1
Target 2: iqn.example:other
    System information:
        Driver: iscsi
"""


def test_of_a_target_the_lines_that_matter_are_kept() -> None:
    assert of_targets(SHOWN) == [
        "Target 1704470977: iqn.example:disk",
        "        I_T nexus: 1",
        "            Initiator: iqn.example:node.compute-1 alias: compute-1",
        "        LUN: 1",
        "            SCSI SN: 5927d3d1a4087217a5d49162492da85",
        "            Size: 268 MB, Block size: 512",
        "            Backing store path: /dev/mapper/vg0-disk",
        "            Backing store flags: direct",
        "    Account information:",
        "        v5927d3d1",
        "    ACL information:",
        "        iqn.example:node.compute-1",
        "Target 2: iqn.example:other",
    ]


def test_no_target() -> None:
    assert of_targets("") == []
