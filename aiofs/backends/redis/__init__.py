"""Files in Redis, Valkey and their kin, a cluster included: each file is a key. Begin reading with `driver`."""

try:
    import redis as _redis  # noqa: F401 -- asks whether it is there
except ImportError as _missing:
    raise ImportError("Redis needs redis-py: pip install aiofs[redis]") from _missing
