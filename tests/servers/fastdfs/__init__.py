"""A double of FastDFS for the tests: trackers and storages that behave as those did whose answers were recorded."""
