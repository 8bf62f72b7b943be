"""Generated from proto/ by `make generate`; `make check` compares."""
