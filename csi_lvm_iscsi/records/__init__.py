"""Small files that survive a power cut: the durable intent of `storage` and `node`."""
