"""S3: aiobotocore, s3fs, obstore, opendal and aiofs side by side, over a server that answers out of hand.

`python tests/benchmarks/bench_s3.py`; what is measured, `turns.py` says.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import obstore
import opendal
import s3fs
from aiobotocore.session import AioSession
from obstore.store import S3Store
from turns import Operation, take_turns

from aiofs.stores import S3FileSystem

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers.process import HOST, running

SMALL = bytes(1 << 10)
LARGE = bytes(1 << 26)
STEP = 1 << 20
KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
Operations = dict[str, Operation]


async def by_aiobotocore(url: str, stack: AsyncExitStack) -> Operations:
    """The raw SDK."""
    client = await stack.enter_async_context(
        AioSession().create_client("s3", endpoint_url=url, region_name="us-east-1", **KEYS)
    )

    async def get(key: str = "small") -> None:
        async with (await client.get_object(Bucket="bucket", Key=key))["Body"] as body:
            await body.read()

    async def stream() -> None:
        async with (await client.get_object(Bucket="bucket", Key="huge"))["Body"] as body:
            while await body.read(STEP):
                pass

    return {
        "GET 1 KiB": get,
        "HEAD": lambda: client.head_object(Bucket="bucket", Key="small"),
        "PUT 1 KiB": lambda: client.put_object(Bucket="bucket", Key="new", Body=SMALL),
        "LIST 1000": lambda: client.list_objects_v2(Bucket="bucket", Prefix="many/"),
        "GET 64 MiB": lambda: get("large"),
        "PUT 64 MiB": lambda: client.put_object(Bucket="bucket", Key="new", Body=LARGE),
        "stream 256 MiB": stream,
    }


async def by_s3fs(url: str, stack: AsyncExitStack) -> Operations:
    """s3fs, by its asynchronous methods."""
    fs = s3fs.S3FileSystem(
        key="key",
        secret="secret",
        endpoint_url=url,
        asynchronous=True,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    session = await fs.set_session()
    stack.push_async_callback(session.close)

    return {
        "GET 1 KiB": lambda: fs._cat_file("bucket/small"),
        "HEAD": lambda: fs._info("bucket/small"),
        "PUT 1 KiB": lambda: fs._pipe_file("bucket/new", SMALL),
        "LIST 1000": lambda: fs._ls("bucket/many/", refresh=True),
        "GET 64 MiB": lambda: fs._cat_file("bucket/large"),
        "PUT 64 MiB": lambda: fs._pipe_file("bucket/new", LARGE),
    }


async def by_obstore(url: str, _: AsyncExitStack) -> Operations:
    """obstore, in Rust."""
    store = S3Store(
        "bucket",
        endpoint=url,
        access_key_id="key",
        secret_access_key="secret",
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )

    async def get(key: str = "small") -> None:
        await (await obstore.get_async(store, key)).bytes_async()

    async def stream() -> None:
        async for _ in (await obstore.get_async(store, "huge")).stream(min_chunk_size=STEP):
            pass

    async def listed() -> None:
        async for _ in obstore.list(store, "many"):
            pass

    return {
        "GET 1 KiB": get,
        "HEAD": lambda: obstore.head_async(store, "small"),
        "PUT 1 KiB": lambda: obstore.put_async(store, "new", SMALL, use_multipart=False),
        "LIST 1000": listed,
        "GET 64 MiB": lambda: get("large"),
        "PUT 64 MiB": lambda: obstore.put_async(store, "new", LARGE),
        "stream 256 MiB": stream,
    }


async def by_opendal(url: str, _: AsyncExitStack) -> Operations:
    """opendal, in Rust."""
    operator = opendal.AsyncOperator(
        "s3", bucket="bucket", endpoint=url, region="us-east-1", access_key_id="key", secret_access_key="secret"
    )

    async def listed() -> None:
        async for _ in await operator.list("many/"):
            pass

    async def stream() -> None:
        async with await operator.open("huge", "rb") as file:
            while await file.read(STEP):
                pass

    return {
        "GET 1 KiB": lambda: operator.read("small"),
        "HEAD": lambda: operator.stat("small"),
        "PUT 1 KiB": lambda: operator.write("new", SMALL),
        "LIST 1000": listed,
        "GET 64 MiB": lambda: operator.read("large"),
        "PUT 64 MiB": lambda: operator.write("new", LARGE),
        "stream 256 MiB": stream,
    }


async def by_aiofs(url: str, stack: AsyncExitStack, *, locking: str = "commit") -> Operations:
    """aiofs: writes are one request, as everybody else's, or under a lock."""
    fs = await stack.enter_async_context(
        S3FileSystem(
            "bucket", endpoint_url=url, access_key="key", secret_key="secret", region="us-east-1", locking=locking
        )  # type: ignore[arg-type]
    )

    async def listed() -> None:
        async for _ in fs.scan("many"):
            pass

    async def opened() -> None:
        async with fs.open("small") as file:
            await file.read()

    async def stream() -> None:
        async with fs.open("huge") as file:
            while await file.read(STEP):
                pass

    writes: Operations = {
        "PUT 1 KiB": lambda: fs.write_bytes("new", SMALL),
        "PUT 64 MiB": lambda: fs.write_bytes("new", LARGE),
    }
    if locking == "lease":
        return {**writes, "GET 1 KiB": opened}
    return {
        **writes,
        "GET 1 KiB": lambda: fs.read_bytes("small"),
        "HEAD": lambda: fs.stat("small"),
        "LIST 1000": listed,
        "GET 64 MiB": lambda: fs.read_bytes("large"),
        "stream 256 MiB": stream,
    }


async def measure(url: str) -> None:
    """Print a line for each operation."""
    async with AsyncExitStack() as stack:
        contenders = {
            "aiobotocore": await by_aiobotocore(url, stack),
            "s3fs": await by_s3fs(url, stack),
            "obstore": await by_obstore(url, stack),
            "opendal": await by_opendal(url, stack),
            "aiofs": await by_aiofs(url, stack),
            "aiofs, open or lock": await by_aiofs(url, stack, locking="lease"),
        }
        for what, width, count in (
            ("GET 1 KiB", 1, 128),
            ("GET 1 KiB", 32, 256),
            ("HEAD", 1, 128),
            ("PUT 1 KiB", 1, 128),
            ("LIST 1000", 1, 8),
            ("GET 64 MiB", 1, 1),
            ("PUT 64 MiB", 1, 1),
            ("stream 256 MiB", 1, 1),
        ):
            able = {name: operations[what] for name, operations in contenders.items() if what in operations}
            await take_turns(what, able, width=width, count=count)


def main() -> None:
    """Start the server and measure."""
    server = str(Path(__file__).parents[1] / "servers" / "canned_s3.py")
    with (
        tempfile.TemporaryDirectory() as folder,
        running("canned", lambda port: (sys.executable, server, str(port)), Path(folder)) as port,
    ):
        asyncio.run(measure(f"http://{HOST}:{port}"))


if __name__ == "__main__":
    main()
