"""Front: a server before the real one, which counts requests, answers some itself, and changes others."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp import web
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    Answer = Awaitable[web.Response | None]

NOT_PASSED_ON = ("host", "transfer-encoding", "content-length", "connection", "date", "server")


@dataclass
class Asked:
    """A request that came by."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """By their names in lower case; they go on as they are left here."""

    def __str__(self) -> str:
        verb = self.method
        for name in ("uploads", "uploadId", "partNumber", "list-type", "delete"):
            if name in self.query:
                verb += f" {name}"
        return verb


class Front:
    """Passes requests on to `target`; `meddle` may change one, answer it by returning, or break it off by raising."""

    def __init__(self, target: str) -> None:
        self.asked: list[Asked] = []
        self.meddle: Callable[[Asked], Answer] | None = None
        self.afterwards: Callable[[Asked, web.Response], Answer] | None = None
        self._target = target
        self.port = 0

    @property
    def verbs(self) -> list[str]:
        """What was asked so far, in short."""
        return [str(asked) for asked in self.asked]

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(
            auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=["Content-Type"]
        )
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{rest:(?s:.*)}", self._take)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        for name in NOT_PASSED_ON:
            headers.pop(name, None)
        asked = Asked(request.method, request.raw_path.partition("?")[0], dict(request.query), headers)
        self.asked.append(asked)
        body = await request.read()
        if self.meddle is not None:
            try:
                answer = await self.meddle(asked)
            except ConnectionError:
                return self._break_off(request)
            if answer is not None:
                return answer
        answer = await self._pass_on(request, asked, body)
        if self.afterwards is not None:
            try:
                return await self.afterwards(asked, answer) or answer
            except ConnectionError:
                return self._break_off(request)
        return answer

    async def _pass_on(self, request: web.Request, asked: Asked, body: bytes) -> web.Response:
        url = URL(self._target + request.raw_path, encoded=True)
        async with self._client.request(asked.method, url, headers=asked.headers, data=io.BytesIO(body)) as response:
            told = {name: value for name, value in response.headers.items() if name.lower() not in NOT_PASSED_ON}
            told["Date"] = response.headers["Date"]
            if asked.method == "HEAD":
                told["Content-Length"] = response.headers.get("Content-Length", "0")
            return web.Response(status=response.status, headers=told, body=await response.read())

    def _break_off(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


def refusal(status: int, code: str) -> web.Response:
    """What S3 says to what it does not do."""
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")
