"""Disks for the tests: calls into the system that are watched, that fail, and that a power cut forgets."""
