"""Kubernetes' own tests of storage drivers, "External Storage" of its e2e.test."""
