"""Random operations on many volumes and hosts, with one fault at a time, against the real lab."""
