"""The only room that starts a process: bounded, in a named namespace, argv only."""
