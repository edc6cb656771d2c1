"""A FastDFS cluster for the tests: trackers and storages that behave as PROTOCOL and its recordings say."""
