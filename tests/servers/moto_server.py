"""Moto's server, nearer to S3 in three things, and with less work for each request.

Keys may have line breaks, a request that is cut is none, and whatever looks at objects or changes them is done in one
step. Without what is left out here moto takes twice as long, and most of what the tests of S3 cost is moto's.
"""

from __future__ import annotations

import itertools
import sys
from functools import cache
from threading import Lock
from typing import Any

from moto import server
from moto.core import responses
from moto.core.utils import service_name_from_moto_package_name
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

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write no line about each request."""


class Dispatcher(server.DomainDispatcherApplication):
    """Looks up only once which service a host name stands for, not for each request through 175 folders of moto's."""

    @cache  # noqa: B019 -- there is one, for as long as the process lives
    def get_backend_for_host(self, host: str | None) -> Any:
        return super().get_backend_for_host(host)


_answer = S3Response._key_response
_looking = Lock()
_ids = itertools.count()


def _answer_in_turn(self: S3Response, request: Any, full_url: str) -> Any:
    """Answer a request that has arrived whole, after the others: no object is replaced while it is read."""
    with _looking:
        return _answer(self, request, full_url)


def _count(headers: dict[str, str]) -> str:
    """Give a request an id; moto's own are 52 random choices."""
    headers["x-amzn-requestid"] = number = f"{next(_ids):052}"
    return number


if __name__ == "__main__":
    werkzeug_app.RegexConverter = AnyCharacter
    server.MotoRequestHandler = WholeRequests
    server.DomainDispatcherApplication = Dispatcher
    S3Response._key_response = _answer_in_turn
    responses.gen_amzn_requestid_long = _count
    service_name_from_moto_package_name("s3")  # costs a second, and requests that come at once would each ask anew
    server.main(sys.argv[1:])
