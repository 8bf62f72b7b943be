"""CSI Node: a published volume becomes a device and a mount on this host, and goes again."""
