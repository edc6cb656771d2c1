"""Lines that are handed out of memory leave a reader where a file of Python's own would stand."""

import io
import random

import pytest

from aiofs import MemoryFileSystem


@pytest.mark.parametrize("seed", range(20))
async def test_reading_by_lines_mixes_with_everything_else(seed: int) -> None:
    chance = random.Random(seed)
    data = b"".join(b"x" * chance.choice((0, 1, 40, 3000)) + b"\n" for _ in range(4000)) + b"no end"
    fs = MemoryFileSystem()
    await fs.write_bytes("lines", data)
    expected = io.BytesIO(data)
    async with fs.open("lines") as file:
        for _ in range(300):
            match chance.choice(("lines", "lines", "read", "readline", "seek", "peek", "rest")):
                case "lines":
                    for _ in range(chance.choice((1, 3, 200))):
                        assert await anext(file, b"") == next(expected, b"")
                case "read":
                    size = chance.choice((0, 1, 100, 70_000))
                    assert await file.read(size) == expected.read(size)
                case "readline":
                    size = chance.choice((-1, 10))
                    assert await file.readline(size) == expected.readline(size)
                case "seek":
                    place = chance.randrange(len(data))
                    assert await file.seek(place) == expected.seek(place)
                case "peek":
                    here = expected.tell()
                    ahead = await file.peek(10)
                    assert ahead == data[here : here + len(ahead)]
                case "rest" if chance.random() < 0.1:
                    assert await file.read() == expected.read()
            if chance.random() < 0.5:  # asking, too, puts lines back
                assert await file.tell() == expected.tell()
        await file.seek(0)
        await anext(file)
    with pytest.raises(ValueError, match="closed"):
        await anext(file)
