"""S3, and what speaks its language: Ceph, MinIO, R2, LocalStack and others. `driver` is where to begin reading."""

try:
    import aiobotocore as _aiobotocore  # noqa: F401 -- asks whether it is there
except ImportError as _missing:
    raise ImportError("S3 needs aiobotocore: pip install aiofs[s3]") from _missing
