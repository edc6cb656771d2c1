"""Fixtures that set a `FaultProxy` before a server."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from servers.proxy import FaultProxy, ProxyThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator


@pytest.fixture
async def fault_proxy() -> AsyncIterator[Callable[[int], Awaitable[FaultProxy]]]:
    """Set a proxy before a port, in the test's loop: `proxy = await fault_proxy(port)`."""
    async with contextlib.AsyncExitStack() as stack:
        yield lambda port: stack.enter_async_context(FaultProxy(port))


@pytest.fixture
def threaded_fault_proxy() -> Iterator[Callable[[int], FaultProxy]]:
    """Set a proxy before a port, in a thread of its own: `proxy = threaded_fault_proxy(port)`."""
    with contextlib.ExitStack() as stack:
        yield lambda port: stack.enter_context(ProxyThread(port))
