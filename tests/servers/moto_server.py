"""Moto's server, for names of every character: as it comes, its routes lose keys with a line break, which S3 takes."""

from __future__ import annotations

import sys
from typing import Any

from moto.moto_server import werkzeug_app
from moto.server import main


class AnyCharacter(werkzeug_app.RegexConverter):
    """A part of a route in which `.` is a line break too."""

    def __init__(self, url_map: Any, *items: Any) -> None:
        super().__init__(url_map, *items)
        self.regex = f"(?s:{self.regex})"


if __name__ == "__main__":
    werkzeug_app.RegexConverter = AnyCharacter  # type: ignore[misc]
    main(sys.argv[1:])
