"""tgtd: its management socket (the wire) and its targets (the meaning)."""
