"""Small files: the durable intent of `storage` and `node`, which survives a power cut, and the keys."""
