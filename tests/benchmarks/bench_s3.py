"""S3: aiobotocore, s3fs, obstore, opendal and aiofs side by side, over a server that answers out of hand.

`python tests/benchmarks/bench_s3.py`; what is measured, `turns.py` says.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import opendal
import s3fs
from aiobotocore.session import AioSession
from obstore.store import S3Store
from rivals import STEP, by_obstore, by_opendal
from turns import LARGE, SMALL, Operations, compare, through

from aiofs.stores import S3FileSystem

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers.process import HOST, running

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
PLAN = (
    ("GET 1 KiB", 1, 128),
    ("GET 1 KiB", 32, 256),
    ("HEAD", 1, 128),
    ("PUT 1 KiB", 1, 128),
    ("LIST 1000", 1, 8),
    ("GET 64 MiB", 1, 1),
    ("PUT 64 MiB", 1, 1),
    ("stream 256 MiB", 1, 1),
)


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


def by_rust(url: str) -> dict[str, Operations]:
    """obstore and opendal."""
    place = {"bucket": "bucket", "endpoint": url, "region": "us-east-1"}
    keys = {"access_key_id": "key", "secret_access_key": "secret"}
    store = S3Store(**place, **keys, virtual_hosted_style_request=False, client_options={"allow_http": True})
    return {"obstore": by_obstore(store), "opendal": by_opendal(opendal.AsyncOperator("s3", **place, **keys))}


async def by_aiofs(url: str, stack: AsyncExitStack, *, locking: str = "commit") -> Operations:
    """aiofs: writes are one request, as everybody else's, or under a lock."""
    fs = await stack.enter_async_context(
        S3FileSystem(
            "bucket", endpoint_url=url, access_key="key", secret_key="secret", region="us-east-1", locking=locking
        )  # type: ignore[arg-type]
    )

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
        "LIST 1000": lambda: through(fs.scan("many")),
        "GET 64 MiB": lambda: fs.read_bytes("large"),
        "stream 256 MiB": stream,
    }


async def measure(url: str) -> None:
    """Print a line for each operation."""
    async with AsyncExitStack() as stack:
        contenders = {
            "aiobotocore": await by_aiobotocore(url, stack),
            "s3fs": await by_s3fs(url, stack),
            **by_rust(url),
            "aiofs": await by_aiofs(url, stack),
            "aiofs, open or lock": await by_aiofs(url, stack, locking="lease"),
        }
        await compare(contenders, PLAN)


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
