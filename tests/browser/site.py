"""A web site with the TypeScript client, in an origin of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from tests.browser.chromium import Browser, Tab, tab
from tests.program import ROOT

CLIENT: Final = ROOT / "clients" / "typescript" / "dist" / "loom-grpc-web.js"
_PAGE: Final = Path(__file__).with_name("page.js")
_HTML: Final = '<!doctype html><meta charset="utf-8"><title>loom-grpc</title>'


class Site:
    """A site and its page in the browser."""

    def __init__(self, origin: str, opened: Tab) -> None:
        self.origin = origin
        self.tab = opened

    async def run(self, job: str, url: str, **asked: Any) -> Any:
        """Has the page do one of the jobs in page.js with the server at a URL."""
        arguments = ", ".join(json.dumps(value) for value in (job, url, asked))
        return await self.tab.call(f'import("{self.origin}/page.js").then(({{ run }}) => run({arguments}))')


@asynccontextmanager
async def site(browser: Browser, client: bytes) -> AsyncIterator[Site]:
    """Serves the site and opens its page. Pages of other origins may load its scripts too."""
    scripts = {"/page.js": _PAGE.read_bytes(), "/loom-grpc-web.js": client}

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path not in scripts:
            return web.Response(text=_HTML, content_type="text/html")
        headers = {"access-control-allow-origin": "*"}
        return web.Response(body=scripts[request.path], content_type="text/javascript", headers=headers)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with tab(browser, origin) as opened:
            yield Site(origin, opened)
    finally:
        await runner.cleanup()
