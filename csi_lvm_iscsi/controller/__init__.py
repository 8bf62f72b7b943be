"""CSI Identity and Controller: picks a storage host and passes the work on. It keeps no state."""
