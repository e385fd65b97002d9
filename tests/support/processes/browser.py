"""A real, headless Chromium."""

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from playwright.async_api import Browser, Page, Request, async_playwright, expect

from support.tools import need


@dataclass
class RecordedPage:
    """A page with its requests, and with the messages and errors of its console."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def foreign_requests(self, base: str) -> list[str]:
        """Requests that did not go to the console at `base`."""
        return [url for url in self.requests if not url.startswith(base)]


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser, closed at the end."""
    program = need("chromium")
    # Root's Chromium has no sandbox; it shows pages of this machine only.
    arguments = ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=arguments, timeout=60_000)
        try:
            yield browser
        finally:
            await browser.close()


async def open_page(browser: Browser, scheme: str = "light") -> RecordedPage:
    """A new, recorded page. `scheme`: light or dark."""
    context = await browser.new_context(
        viewport={"width": 1280, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
    )
    context.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    recorded = RecordedPage(await context.new_page())

    def on_request(request: Request) -> None:
        recorded.requests.append(request.url)

    recorded.page.on("request", on_request)
    recorded.page.on("console", lambda message: recorded.errors.append(message.text))
    recorded.page.on("pageerror", lambda error: recorded.errors.append(str(error)))
    return recorded
