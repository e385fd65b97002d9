"""`chaski console` with passwords, in a real Chromium: login, sessions and permissions."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from playwright.async_api import Browser, Page, expect

from support.aws.emulators import running_emulators
from support.console_users import users_text
from support.dead_letters.builder import a_dead_letter_to_find
from support.processes.browser import chromium, open_page
from support.processes.console import console_process
from support.processes.dev import route
from support.processes.prometheus import documented_queries
from support.processes.services import Cloud
from support.tools import need

pytestmark = [pytest.mark.timeout(240), pytest.mark.landing]
PASSWORD = "correct horse battery"
COMMANDS = documented_queries(Path(__file__).parents[2] / "docs" / "logs.md")
(AUDIT_COMMAND,) = (command for command in COMMANDS.values() if '"logout"' in command)


@dataclass
class Context:
    """A browser, and the backends of a console."""

    browser: Browser
    cloud: Cloud
    folder: Path

    @property
    def arguments(self) -> tuple[object, ...]:
        """Flags of a console with password authentication."""
        return ("--resolved", self.cloud.file, "--auth", "password", "--password-file", self.folder / "users")

    async def put_dead_letters(self, *ids: str) -> None:
        """Stores dead letters with these ids."""
        for each in ids:
            await self.cloud.keep(a_dead_letter_to_find("t/r", each, subject=each))


@pytest.fixture
async def context(tmp_path: Path) -> AsyncIterator[Context]:
    """Queues and a table of one route; the user is ada."""
    (tmp_path / "users").write_text(users_text(ada=PASSWORD))
    async with running_emulators("embedded", tmp_path) as urls, chromium() as browser:
        cloud = Cloud(*urls, tmp_path)
        await cloud.make(route("r", "http://127.0.0.1:9/"))
        try:
            yield Context(browser, cloud, tmp_path)
        finally:
            await cloud.close()


async def log_in(page: Page, password: str = PASSWORD) -> None:
    """Fills in and submits the login form."""
    await page.get_by_label("Name").fill("ada")
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def audit_entries(log: Path) -> list[list[object]]:
    """The result of the documented command on a console's log, without the times."""
    need("jq")
    command = AUDIT_COMMAND.replace("LOG", str(log))
    process = await asyncio.create_subprocess_shell(command, stdin=DEVNULL, stdout=PIPE, executable="/bin/bash")
    out, _ = await process.communicate()
    assert process.returncode == 0, command
    return [orjson.loads(line)[1:] for line in out.splitlines()]


async def test_log_in_replay_and_log_out(context: Context) -> None:
    """A wrong password is denied; the correct one opens the requested page; after logging out nothing is shown."""
    await context.put_dead_letters("m-1", "m-2")
    async with console_process(context.folder, context.cloud.environment, *context.arguments) as console:
        recorded = await open_page(context.browser)
        page = recorded.page
        await page.goto(f"{console.url}dead-letters?window=all&text=llama")
        await expect(page.get_by_label("Name")).to_be_focused()
        await log_in(page, "wrong password")
        await expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
        assert await page.locator(".dead-letters").count() == 0
        await expect(page.get_by_label("Password")).to_be_focused()
        recorded.errors.clear()  # the status 401
        await log_in(page)
        await expect(page.locator(".dead-letters tbody tr")).to_have_count(2)
        await expect(page.locator(".user")).to_have_text("ada")
        assert await page.evaluate("document.cookie") == ""

        await page.get_by_label("Select m-1").check()
        await page.get_by_role("button", name="Replay selected").click()
        await expect(page.get_by_role("status").first).to_contain_text("1 replayed")
        assert await context.cloud.lying() == 1
        (line,) = await console.wait_for_lines("replay")
        assert (line["user.name"], line["chaski.message.ids"]) == ("ada", ["m-1"])

        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Password")).to_be_visible()
        await page.goto(f"{console.url}dead-letters/m-2")
        await expect(page.get_by_label("Password")).to_be_visible()
        assert recorded.errors == []
        assert recorded.foreign_requests(console.url) == []
        assert PASSWORD not in console.log.read_text()
        assert await console.stop() == 0
        assert await audit_entries(console.log) == [
            [None, "login", "failure", None],
            ["ada", "login", "success", None],
            ["ada", "replay", "success", ["m-1"]],
            ["ada", "logout", "success", None],
        ]


async def test_an_open_page_asks_for_the_password_when_its_session_ends(context: Context) -> None:
    """Without a click, and returns to the same page."""
    arguments = (*context.arguments, "--session-seconds", "20")
    async with console_process(context.folder, context.cloud.environment, *arguments) as console:
        page = (await open_page(context.browser)).page
        await page.goto(console.url)
        await log_in(page)
        await expect(page.locator("h1")).to_have_text("Routes")
        await expect(page.get_by_label("Password")).to_be_visible()
        await log_in(page)
        await expect(page.locator("h1")).to_have_text("Routes")


async def test_a_link_from_another_site_keeps_the_session(context: Context) -> None:
    """Although the browser does not send the strict cookie with the first request."""
    await context.put_dead_letters("m-1")
    async with console_process(context.folder, context.cloud.environment, *context.arguments) as console:
        page = (await open_page(context.browser)).page
        await page.goto(console.url)
        await log_in(page)
        await expect(page.locator("h1")).to_have_text("Routes")
        await page.goto("about:blank")
        await page.set_content(f"<a href='{console.url}dead-letters/m-1'>a link</a>")
        await page.get_by_text("a link").click()
        await expect(page.locator("h1")).to_contain_text("m-1")
        await expect(page.locator(".user")).to_have_text("ada")


async def test_a_read_only_console_has_no_actions(context: Context) -> None:
    """Except for logging out."""
    await context.put_dead_letters("m-1")
    arguments = (*context.arguments, "--read-only")
    async with console_process(context.folder, context.cloud.environment, *arguments) as console:
        page = (await open_page(context.browser)).page
        await page.goto(f"{console.url}dead-letters/m-1")
        await log_in(page)
        await expect(page.locator(".document")).to_contain_text("llama")
        assert await page.get_by_role("button").all_inner_texts() == ["Log out"]
        await page.goto(f"{console.url}dead-letters?window=all")
        await expect(page.locator(".dead-letters tbody tr")).to_have_count(1)
        assert await page.locator(".dead-letters input").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_login_page_has_labels_and_fits_a_phone(context: Context, scheme: str) -> None:
    """Every field has a label; the page is not wider than the window."""
    async with console_process(context.folder, context.cloud.environment, *context.arguments) as console:
        recorded = await open_page(context.browser, scheme)
        await recorded.page.goto(console.url)
        nameless = "[...document.querySelectorAll('input:not([type=hidden]), button')].filter(e => !(e.labels?.length || e.textContent.trim())).length"
        assert await recorded.page.evaluate(nameless) == 0
        await recorded.page.set_viewport_size({"width": 390, "height": 800})
        assert await recorded.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert recorded.errors == []
