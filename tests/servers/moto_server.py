"""Moto's server, nearer to S3 in three things.

Keys may have line breaks, a request that is cut is none, and a write looks at its condition and is done in one step.
"""

from __future__ import annotations

import sys
from threading import Lock
from typing import Any

from moto import server
from moto.moto_server import werkzeug_app
from moto.s3.responses import S3Response


class AnyCharacter(werkzeug_app.RegexConverter):
    """A part of a route in which `.` is a line break too."""

    regex: str

    def __init__(self, url_map: Any, *items: Any) -> None:
        super().__init__(url_map, *items)
        self.regex = f"(?s:{self.regex})"


class Lines:
    """What comes over a connection, with the last line remembered."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.last = b""

    def readline(self, *limit: int) -> bytes:
        self.last = self._connection.readline(*limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class WholeRequests(server.MotoRequestHandler):
    """Answers no request whose headers end where the connection was cut, without the length and the conditions."""

    rfile: Any

    def parse_request(self) -> bool:
        self.rfile = lines = Lines(self.rfile)
        try:
            return super().parse_request() and lines.last.strip() == b"" != lines.last
        finally:
            self.rfile = lines._connection


_answer = S3Response._key_response
_changing = Lock()


def _answer_in_turn(self: S3Response, request: Any, full_url: str) -> Any:
    """Answer a request that has arrived whole, after whatever else changes objects now."""
    if request.method in {"GET", "HEAD"}:
        return _answer(self, request, full_url)
    with _changing:
        return _answer(self, request, full_url)


if __name__ == "__main__":
    werkzeug_app.RegexConverter = AnyCharacter
    server.MotoRequestHandler = WholeRequests
    S3Response._key_response = _answer_in_turn
    server.main(sys.argv[1:])
