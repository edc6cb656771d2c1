"""Azure blobs: one container is one file system, a blob's name is the path. Begin reading with `driver`."""

try:
    import azure.storage.blob.aio as _sdk  # noqa: F401 -- asks whether it is there
except ImportError as _missing:
    raise ImportError("Azure needs azure-storage-blob: pip install aiofs[azure]") from _missing
