"""PathTemplate: paths with holes that hold a text or an integer."""

from __future__ import annotations

import re
from string import Formatter

from aiofs.names import check_folder

_INTEGER = re.compile(r"0?\d*d")


class PathTemplate:
    """`PathTemplate("{user}/{year:d}/{month:02d}")`: a hole holds a text without `/`, or an integer if it has `d`."""

    def __init__(self, template: str) -> None:
        self.template = template
        self.names: tuple[str, ...] = ()
        self._integers: set[str] = set()
        pattern = ""
        for literal, name, spec, conversion in Formatter().parse(template):
            pattern += re.escape(literal)
            if name is None:
                continue
            if not name.isidentifier() or conversion or name in self.names:
                raise ValueError(f"template {template!r}: {{{name}}} is not a name of its own")
            if spec and not _INTEGER.fullmatch(spec):
                raise ValueError(f"template {template!r}: a hole is {{name}} or, with {{name:03d}}, an integer")
            self.names += (name,)
            if spec:
                self._integers.add(name)
            pattern += rf"(?P<{name}>\d+)" if spec else rf"(?P<{name}>[^/]+)"
        self._pattern = re.compile(pattern, re.DOTALL)

    def render(self, **values: str | int) -> str:
        """Return the path with these values in its holes.

        :raises ValueError: if a hole has no value, or a value no hole; or if a text would lead to another folder.
        """
        missing, unknown = set(self.names) - set(values), set(values) - set(self.names)
        if missing or unknown:
            what = f"no value for {sorted(missing)}" if missing else f"no hole named {sorted(unknown)}"
            raise ValueError(f"template {self.template!r}: {what}")
        for name, value in values.items():
            if name in self._integers:
                if not isinstance(value, int) or value < 0:
                    raise ValueError(f"template {self.template!r}: {name!r} is an integer, not {value!r}")
            elif not isinstance(value, str) or "/" in value or value in {"", ".", ".."}:
                raise ValueError(f"template {self.template!r}: {name!r} is a text without '/', not {value!r}")
        return check_folder(self.template.format(**values))

    def match(self, path: str) -> dict[str, str | int] | None:
        """Return the values in the holes of `path`; `None` if it does not match the template."""
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        values = {name: int(text) if name in self._integers else text for name, text in found.groupdict().items()}
        return values if self.template.format(**values) == path else None

    def __repr__(self) -> str:
        return f"PathTemplate({self.template!r})"
