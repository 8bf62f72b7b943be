"""A storage host: its logical volumes, their publications, and tgt's exports of them."""
