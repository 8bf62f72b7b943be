"""The iSCSI initiator of a host: records, sessions, and the disks that they bring."""
