"""Files in Redis, Valkey and their kin, a cluster included: one key each.

* `names`: how paths and keys spell each other.
* `scripts`: the steps that must not be divided, in Lua.
* `connection`: the client, its errors and its second attempts.
* `driver`: the six verbs; `session` and `streams`: writing and reading one file; `listing`; `leases`; `sweeping`.
"""

try:
    import redis as _redis  # noqa: F401 -- asks whether it is there
except ImportError as _missing:
    raise ImportError("Redis needs redis-py: pip install aiofs[redis]") from _missing
