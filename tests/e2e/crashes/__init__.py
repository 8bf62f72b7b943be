"""Kills the storage role after every single action of every verb, on real LVM and tgt."""
