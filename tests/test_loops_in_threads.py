"""Loops in several threads have calls on one file system, while one of them looks at all of these."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiofs.lifetimes import Call, Calls

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 100
LOOKS = 20_000


@contextmanager
def hurried_threads() -> Iterator[None]:
    """Have threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


async def test_what_another_thread_begins_and_ends_is_no_trouble() -> None:
    calls = Calls()
    enough = threading.Event()

    async def begin_and_end() -> None:
        while not enough.is_set():
            begun = [Call(calls).__enter__() for _ in range(MANY)]
            for call in begun:
                call.__exit__(None, None, None)

    other = threading.Thread(target=asyncio.run, args=(begin_and_end(),))
    with hurried_threads():
        other.start()
        try:
            for _ in range(LOOKS):
                calls.leave_out_mine()
                await calls.ended()
        finally:
            enough.set()
            other.join()
