"""What the package's objects say of themselves."""

from __future__ import annotations

import aiofs


async def test_openings_and_listings_say_what_they_are_of() -> None:
    fs = aiofs.MemoryFileSystem()
    assert repr(fs.open("a/b", "w")).startswith("<opening of 'a/b', mode 'w', in <MemoryFileSystem")
    assert "names that begin with 'a/b'" in repr(fs.ls("a", prefix="b"))
    assert "'*.txt'" in repr(fs.scan(glob="*.txt"))
    assert "versions of 'a'" in repr(fs.history("a"))
