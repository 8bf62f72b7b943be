"""The kubectl plugin, which runs on the user's workstation."""
