"""The time limit that many waits share."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from aiofs.backends.redis.client import Deadline


async def test_what_is_in_time_is_left_alone() -> None:
    deadline = Deadline(10)
    with deadline:
        await asyncio.sleep(0)
    deadline.close()


async def test_what_is_late_ends_and_the_task_goes_on() -> None:
    deadline = Deadline(0.01)
    with pytest.raises(TimeoutError), deadline:
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)


async def test_each_task_has_its_own_time() -> None:
    deadline = Deadline(0.05)
    ended: list[str] = []

    async def wait(name: str, event: asyncio.Event) -> None:
        try:
            with deadline:
                await event.wait()
            ended.append(f"{name} in time")
        except TimeoutError:
            ended.append(f"{name} late")

    early, never = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(wait("first", early)), asyncio.create_task(wait("second", never))]
    await asyncio.sleep(0)
    early.set()
    await asyncio.gather(*tasks)
    await wait("third", asyncio.Event())
    assert ended == ["first in time", "second late", "third late"]


async def test_a_cancellation_stays_one() -> None:
    deadline = Deadline(10)

    async def wait() -> None:
        with deadline:
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadline.close()


async def test_a_cancellation_that_the_wait_swallowed_is_not_lost() -> None:
    deadline = Deadline(10)
    went_on = False

    async def wait() -> None:
        nonlocal went_on
        with deadline, suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        went_on = True

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not went_on
    deadline.close()
