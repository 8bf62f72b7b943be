"""Looking at a host without changing it: what the doctors of storage hosts and nodes share."""
