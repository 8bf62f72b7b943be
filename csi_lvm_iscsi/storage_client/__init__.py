"""Which storage hosts there are, and how one is spoken to."""
