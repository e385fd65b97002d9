"""`chaski console` with passwords, in a real Chromium: who gets in, who stays in, who may do what."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from playwright.async_api import Browser, Page, expect

from chaski_core.dead_letter import DeadLetter
from chaski_core.retry.ladder import Reason
from chaski_runtime.process.clock import SystemClock
from support.aws.emulators import standins
from support.processes.browser import chromium, open_page
from support.processes.console import console_process
from support.processes.dev import route
from support.processes.prometheus import documented_queries
from support.processes.services import Cloud
from support.tools import need

pytestmark = pytest.mark.timeout(240)
PASSWORD = "correct horse battery"
COMMANDS = documented_queries(Path(__file__).parents[2] / "docs" / "logs.md")
QUESTION = "who sent again, discarded, signed in or out, in the log of the console"


@dataclass
class Scene:
    """A browser, and what a console reads from."""

    browser: Browser
    cloud: Cloud
    folder: Path

    @property
    def arguments(self) -> tuple[object, ...]:
        """Of a console that asks for passwords."""
        return ("--route", self.cloud.file, "--auth", "password", "--password-file", self.folder / "users")

    async def keep(self, *ids: str) -> None:
        """Dead letters of these ids."""
        url, now = "http://127.0.0.1:9/x", SystemClock().now_ms()
        for each in ids:
            document = {"subject": each, "body": {"url": url, "content": "about a llama"}}
            await self.cloud.keep(
                DeadLetter(
                    "t/r", each, each, each, now - 5_000, Reason.EXHAUSTED, "503", "target", url, 3, (), document
                )
            )


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Queues and a table of one route; ada may sign in."""
    (tmp_path / "users").write_text(f"ada:{PASSWORD}\n")
    async with standins("embedded", tmp_path) as urls, chromium() as browser:
        cloud = Cloud(*urls, tmp_path)
        await cloud.make(route("r", "http://127.0.0.1:9/"))
        try:
            yield Scene(browser, cloud, tmp_path)
        finally:
            await cloud.close()


async def sign_in(page: Page, password: str = PASSWORD) -> None:
    """Fills the form in, as people and password managers do."""
    await page.get_by_label("Name").fill("ada")
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def who_did_what(log: Path) -> list[list[object]]:
    """What the documented command finds in a console's log, without the times."""
    need("jq")
    command = COMMANDS[QUESTION].replace("LOG", str(log))
    process = await asyncio.create_subprocess_shell(command, stdin=DEVNULL, stdout=PIPE, executable="/bin/bash")
    out, _ = await process.communicate()
    assert process.returncode == 0, command
    return [orjson.loads(line)[1:] for line in out.splitlines()]


async def test_one_signs_in_replays_and_signs_out(scene: Scene) -> None:
    """The wrong password gets nobody in; the right one leads on to the page that was asked for; afterwards nothing is shown."""
    await scene.keep("m-1", "m-2")
    async with console_process(scene.folder, scene.cloud.environment, *scene.arguments) as console:
        watched = await open_page(scene.browser)
        page = watched.page
        await page.goto(f"{console.url}dead-letters?window=all&text=llama")
        await expect(page.get_by_label("Name")).to_be_focused()
        await sign_in(page, "wrong password")
        await expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
        assert await page.locator(".letters").count() == 0
        await expect(page.get_by_label("Password")).to_be_focused()
        watched.complaints.clear()  # of the status 401
        await sign_in(page)
        await expect(page.locator(".letters tbody tr")).to_have_count(2)
        await expect(page.locator(".user")).to_have_text("ada")
        assert await page.evaluate("document.cookie") == ""

        await page.get_by_label("Select m-1").check()
        await page.get_by_role("button", name="Replay selected").click()
        await expect(page.get_by_role("status").first).to_contain_text("1 sent again")
        assert await scene.cloud.lying() == 1
        (line,) = await console.told("replay")
        assert (line["user.name"], line["chaski.message.ids"]) == ("ada", ["m-1"])

        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Password")).to_be_visible()
        await page.goto(f"{console.url}dead-letters/m-2")
        await expect(page.get_by_label("Password")).to_be_visible()
        assert watched.complaints == []
        assert watched.foreign(console.url) == []
        assert PASSWORD not in console.log.read_text()
        assert await console.stop() == 0
        assert await who_did_what(console.log) == [
            [None, "login", "failure", None],
            ["ada", "login", "success", None],
            ["ada", "replay", "success", ["m-1"]],
            ["ada", "logout", "success", None],
        ]


async def test_an_open_page_asks_again_when_its_session_has_ended(scene: Scene) -> None:
    """By itself, and brings back to the page that was open."""
    arguments = (*scene.arguments, "--session-seconds", "20")
    async with console_process(scene.folder, scene.cloud.environment, *arguments) as console:
        page = (await open_page(scene.browser)).page
        await page.goto(console.url)
        await sign_in(page)
        await expect(page.locator("h1")).to_have_text("Routes")
        await expect(page.get_by_label("Password")).to_be_visible()
        await sign_in(page)
        await expect(page.locator("h1")).to_have_text("Routes")


async def test_a_link_from_elsewhere_finds_whoever_is_signed_in(scene: Scene) -> None:
    """Though the browser leaves the cookie out when another site's link is followed."""
    await scene.keep("m-1")
    async with console_process(scene.folder, scene.cloud.environment, *scene.arguments) as console:
        page = (await open_page(scene.browser)).page
        await page.goto(console.url)
        await sign_in(page)
        await expect(page.locator("h1")).to_have_text("Routes")
        await page.goto("about:blank")
        await page.set_content(f"<a href='{console.url}dead-letters/m-1'>look at this</a>")
        await page.get_by_text("look at this").click()
        await expect(page.locator("h1")).to_contain_text("m-1")
        await expect(page.locator(".user")).to_have_text("ada")


async def test_a_console_that_only_shows_offers_nothing_to_do(scene: Scene) -> None:
    """But for signing out."""
    await scene.keep("m-1")
    arguments = (*scene.arguments, "--read-only")
    async with console_process(scene.folder, scene.cloud.environment, *arguments) as console:
        page = (await open_page(scene.browser)).page
        await page.goto(f"{console.url}dead-letters/m-1")
        await sign_in(page)
        await expect(page.locator(".document")).to_contain_text("llama")
        assert await page.get_by_role("button").all_inner_texts() == ["Sign out"]
        await page.goto(f"{console.url}dead-letters?window=all")
        await expect(page.locator(".letters tbody tr")).to_have_count(1)
        assert await page.locator(".letters input").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_login_page_has_names_and_fits_a_telephone(scene: Scene, scheme: str) -> None:
    """Every field has its label, and nothing is wider than the window."""
    async with console_process(scene.folder, scene.cloud.environment, *scene.arguments) as console:
        watched = await open_page(scene.browser, scheme)
        await watched.page.goto(console.url)
        nameless = "[...document.querySelectorAll('input:not([type=hidden]), button')].filter(e => !(e.labels?.length || e.textContent.trim())).length"
        assert await watched.page.evaluate(nameless) == 0
        await watched.page.set_viewport_size({"width": 390, "height": 800})
        assert await watched.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert watched.complaints == []
