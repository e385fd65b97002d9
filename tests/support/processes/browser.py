"""A real Chromium without a window."""

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from playwright.async_api import Browser, Page, Request, async_playwright, expect

from support.tools import need


@dataclass
class Watched:
    """A page, and what the browser had against it or asked of others for it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def foreign(self, base: str) -> list[str]:
        """Requests that did not go to the console."""
        return [url for url in self.requests if not url.startswith(base)]


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser, ended at the end."""
    program = need("chromium")
    # Root's Chromium has no sandbox; it shows pages of this machine only.
    arguments = ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=arguments, timeout=60_000)
        try:
            yield browser
        finally:
            await browser.close()


async def open_page(browser: Browser, scheme: str = "light") -> Watched:
    """A new page that is watched."""
    context = await browser.new_context(
        viewport={"width": 1280, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
    )
    context.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    watched = Watched(await context.new_page())

    def asked(request: Request) -> None:
        watched.requests.append(request.url)

    watched.page.on("request", asked)
    watched.page.on("console", lambda said: watched.complaints.append(said.text))
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    return watched
