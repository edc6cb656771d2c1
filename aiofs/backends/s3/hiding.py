"""Keys that the SDK would log, with the headers of its requests, where somebody asks it for its debug messages."""

from __future__ import annotations

import base64
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SDK = ("aiobotocore", "botocore")


class _Hides(logging.Filter):
    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._shown = (base64.b64encode(key).decode(), repr(key))

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if any(shown in message for shown in self._shown):
            for shown in self._shown:
                message = message.replace(shown, "***")
            record.msg, record.args = message, ()
        return True


@contextmanager
def hidden(key: bytes) -> Iterator[None]:
    """Keep a key out of what the SDK logs."""
    hides = _Hides(key)
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith(_SDK)]
    for logger in loggers:
        logger.addFilter(hides)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(hides)
