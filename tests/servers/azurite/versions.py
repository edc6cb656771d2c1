"""Versions for Azurite, which knows only snapshots: a server before it that says version where Azurite says snapshot.

It takes a snapshot after each request that publishes a blob, as versioning does. Requests are signed by a SAS, which
does not cover what it changes.
"""

from __future__ import annotations

import io
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from servers.process import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PUBLISHING = {None, "blocklist"}
_LAST = rb"(<Name>([^<]*)</Name>(?:(?!<Name>).)*?</VersionId>)(?!.*<Name>\2</Name>)"
_PASSED = {"content-length", "transfer-encoding", "content-encoding", "host"}


@asynccontextmanager
async def versioning(port: int) -> AsyncIterator[int]:
    """Run the server before the Azurite at `port`, and give its own port."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def pass_on(request: web.Request) -> web.Response:
            query = dict(request.query)
            if "versionid" in query:
                query["snapshot"] = query.pop("versionid")
            if query.get("include") == "versions":
                query["include"] = "snapshots"
            url = f"http://{HOST}:{port}{request.path}"
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _PASSED}
            body = await request.read()
            sent = io.BytesIO(body)
            async with session.request(request.method, url, params=query, headers=headers, data=sent) as answer:
                data = await answer.read()
            given = {name: value for name, value in answer.headers.items() if name.lower() not in _PASSED}
            published = answer.status == 201 and request.method == "PUT" and request.query.get("comp") in _PUBLISHING
            if published and "/.aiofs/" not in request.path:  # a lock's could not be removed any more
                signed = {name: value for name, value in query.items() if name != "comp"}
                dated = {"x-ms-version": headers["x-ms-version"]}
                async with session.put(url, params={**signed, "comp": "snapshot"}, headers=dated) as taken:
                    given["x-ms-version-id"] = taken.headers["x-ms-snapshot"]
            if "versions" in request.query.get("include", ""):
                data = re.sub(rb"<Snapshot>(.*?)</Snapshot>", rb"<VersionId>\1</VersionId>", data)
                data = re.sub(rb"<Blob>(?:(?!<VersionId>).)*?</Blob>", b"", data, flags=re.DOTALL)
                data = re.sub(_LAST, rb"\1<IsCurrentVersion>true</IsCurrentVersion>", data, flags=re.DOTALL)
            if request.method == "HEAD":
                given["content-length"] = answer.headers.get("content-length", "0")
            return web.Response(status=answer.status, headers=given, body=data)

        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{path:.*}", pass_on)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, 0)
            await site.start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()
