"""csi-sanity, the conformance test of CSI drivers, against the driver in the lab."""
