"""Small files: durable intent of `storage` and `node`, which survives a power cut; CHAP keys."""
