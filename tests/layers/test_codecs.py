"""What all codecs share: opening a file that is being replaced, and what the store may still do by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.driver import Layer
from aiofs.errors import Conflict
from aiofs.filesystem import FileSystem
from aiofs.layers import Base64, Checked, Gzip
from aiofs.layers.forward import ForwardedStream

if TYPE_CHECKING:
    from aiofs.driver import ReadStream
    from aiofs.layers.codecs import Codec

from_the_end = pytest.mark.parametrize("codec", [Gzip(), Base64()], ids=str)
"""Those that read the end of a file first; test_blocks.py has the others."""
codecs = pytest.mark.parametrize("codec", [Gzip(), Base64(), Checked()], ids=str)


class Restless(Layer):
    """A store that keeps no old versions, where the file is replaced while the first readers look into it."""

    def __init__(self, times: int) -> None:
        self.times = [times]

    async def read(self, path: str, start: int = 0, stop: int | None = None, **options: Any) -> ReadStream:
        return RestlessStream(self.times, await self.base.read(path, start, stop, **options))


class RestlessStream(ForwardedStream):
    def __init__(self, times: list[int], base: ReadStream) -> None:
        super().__init__(base)
        self._times = times

    async def seek(self, start: int, stop: int | None = None) -> None:
        if self._times[0]:
            self._times[0] -= 1
            raise Conflict.of(self.entry.path, "the file was changed meanwhile")
        await super().seek(start, stop)


@from_the_end
async def test_a_file_that_is_replaced_while_it_is_opened_is_opened_anew(codec: Codec) -> None:
    driver = MemoryDriver()
    await FileSystem(driver).over(codec).write_bytes("file", b"some bytes")
    assert await FileSystem(driver).over(Restless(2), codec).read_bytes("file") == b"some bytes"
    assert (await FileSystem(driver).over(Restless(2), codec).stat("file")).size == 10
    with pytest.raises(Conflict) as caught:
        await FileSystem(driver).over(Restless(100), codec).read_bytes("file")
    assert caught.value.filename == "file"


@from_the_end
async def test_one_version_that_is_gone_is_a_conflict_at_once(codec: Codec) -> None:
    driver = MemoryDriver()
    await FileSystem(driver).over(codec).write_bytes("file", b"some bytes")
    restless = Restless(1)
    version = (await driver.stat("file")).version
    with pytest.raises(Conflict):
        await FileSystem(driver).over(restless, codec).driver.read("file", match=version)


@codecs
async def test_the_store_copies_what_is_encoded(codec: Codec) -> None:
    store = FileSystem(MemoryDriver())
    fs = store.over(codec)
    await fs.write_bytes("file", b"some bytes")
    await fs.copy("file", "copied")
    assert await store.read_bytes("file") == await store.read_bytes("copied")
    assert await fs.read_bytes("copied") == b"some bytes"


@codecs
async def test_a_prepared_write_is_finished_by_another(codec: Codec) -> None:
    store = FileSystem(MemoryDriver())
    driver = store.over(codec).driver
    lease = await driver.lock("file")
    session = await driver.begin("file", lease)
    await session.write(b"some bytes")
    token = await session.prepare()
    await lease.release()
    resumed = await store.over(codec).driver.resume(token)
    await resumed.commit()
    assert await store.over(codec).read_bytes("file") == b"some bytes"
