"""What aiofiles builds its classes with, for programs that build their own."""

from aiofiles.threadpool.utils import (
    cond_delegate_to_executor,
    delegate_to_executor,
    proxy_method_directly,
    proxy_property_directly,
)

__all__ = [
    "cond_delegate_to_executor",
    "delegate_to_executor",
    "proxy_method_directly",
    "proxy_property_directly",
]
