"""The stores: each a driver, known to nobody but its file system, and knowing no other."""
