"""S3, and servers that speak its protocol: Ceph, MinIO, R2, LocalStack and others. Begin to read in `driver`."""

try:
    import aiobotocore as _aiobotocore  # noqa: F401 -- only to see whether it is installed
except ImportError as _missing:
    raise ImportError("S3 needs aiobotocore: pip install aiofs[s3]") from _missing
