"""The console of a running `chaski dev`, in a real Chromium."""

import asyncio
import shlex
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from support.processes.browser import Watched, chromium, open_page
from support.processes.dev import CHASKI, DevServer, dev_server, recording_target, route, settled_total

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

HOSTILE = "</title><script>window.owned=1</script><img src=x onerror='window.owned=1'>"
WORD = "Quipucamayoc"


@dataclass
class Stage:
    """A browser, and a `chaski dev` that has delivered and given up."""

    browser: Browser
    dev: DevServer
    http: aiohttp.ClientSession
    target: str
    mended: set[str]  # paths that answer 200 from now on
    delivered: str  # ids
    given_up: str

    async def page(self, path: str, scheme: str = "light") -> Watched:
        """An open page of the console."""
        watched = await open_page(self.browser, scheme)
        await watched.page.goto(f"{self.dev.console_url.rstrip('/')}{path}")
        return watched


async def send(http: aiohttp.ClientSession, dev: DevServer, subject: str, url: str, content: str) -> str:
    """Sends a message to route `t/r`; its id."""
    message = {"subject": subject, "body": {"url": url, "content": content}}
    async with http.post(f"{dev.url}/v1/routes/t/r/messages", json=message) as answer:
        assert answer.status == 202
        return str((await answer.json())["id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One delivered after a retry, one given up, one that is hostile."""
    folder: Path = tmp_path_factory.mktemp("console")
    ladders = [{"class": "5xx", "retriesPerRung": 1, "rungs": ["fast"]}]
    retry = {"rungs": [{"name": "fast", "delaySeconds": 1}], "ladders": ladders}

    mended: set[str] = set()

    def answer(path: str, _: str, attempt: int) -> tuple[float, int]:
        if path.strip("/") in mended:
            return 0, 200
        return 0, 200 if path.startswith("/good") or (path.startswith("/second") and attempt > 1) else 503

    async with (
        chromium() as browser,
        recording_target(answer) as target,
        dev_server(folder, route("r", target.url, retry=retry)) as dev,
        aiohttp.ClientSession() as http,
    ):
        delivered = await send(http, dev, "order-1", f"{target.url}second", "hello")
        given_up = await send(http, dev, "order-2", f"{target.url}bad", f"about {WORD}")
        await send(http, dev, HOSTILE, f"{target.url}bad", HOSTILE)
        async with asyncio.timeout(60):
            while await settled_total(http, dev.metrics_url) < 3:
                await asyncio.sleep(0.2)
        yield Stage(browser, dev, http, target.url, mended, delivered, given_up)


async def test_figures_change_while_one_looks(stage: Stage) -> None:
    """Without loading the page again, and without asking anybody but the console."""
    watched = await stage.page("/")
    accepted = watched.page.locator('[data-key="t/r accepted"]')
    await expect(watched.page.locator("h1")).to_have_text("Routes")
    await expect(watched.page.locator(".live.on")).to_be_visible()
    await expect(accepted).to_have_text("0", timeout=60_000)
    loads = len([url for url in watched.requests if url.rstrip("/") == stage.dev.console_url.rstrip("/")])
    for number in range(20):
        await send(stage.http, stage.dev, f"more-{number}", f"{stage.target}good", "x")
    await expect(accepted).not_to_have_text("0", timeout=60_000)
    assert len([url for url in watched.requests if url.rstrip("/") == stage.dev.console_url.rstrip("/")]) == loads
    assert watched.foreign(stage.dev.console_url) == []
    assert watched.complaints == []


@pytest.mark.promise(13)
@pytest.mark.parametrize(("field", "value"), [("Subject", "order-2"), ("Text", WORD.lower())])
async def test_a_dead_letter_is_found_and_shown(stage: Stage, field: str, value: str) -> None:
    """By its subject, and by a word of its content."""
    watched = await stage.page("/dead-letters")
    await watched.page.get_by_label(field).fill(value)
    await watched.page.get_by_role("button", name="Search").click()
    links = watched.page.locator(".letters tbody a")
    await expect(links).to_have_count(1)
    await expect(links).to_have_text(stage.given_up)
    await links.click()
    await expect(watched.page.locator(".document")).to_contain_text(WORD)
    await expect(watched.page.locator(".errors li")).to_have_count(2)
    assert watched.complaints == []


@pytest.mark.promise(13)
async def test_a_message_is_found_by_its_id_from_any_page(stage: Stage) -> None:
    """With the keyboard alone: `/`, the id, Enter."""
    watched = await stage.page("/dead-letters")
    await watched.page.keyboard.press("/")
    await watched.page.keyboard.type(stage.delivered)
    await watched.page.keyboard.press("Enter")
    await expect(watched.page.locator("h1")).to_contain_text(stage.delivered)
    await expect(watched.page.locator(".title .chip")).to_have_text("delivered")
    await expect(watched.page.locator(".attempts li")).to_have_count(2)


async def test_hostile_content_does_nothing(stage: Stage) -> None:
    """In the list, in its own page, in its history."""
    watched = await stage.page("/dead-letters?window=all")
    row = watched.page.locator(".letters tbody tr", has_text="window.owned")
    await expect(row).to_have_count(1)
    await row.locator("a").click()
    await expect(watched.page.locator(".document")).to_contain_text("onerror")
    await watched.page.get_by_role("link", name="History").click()
    await expect(watched.page.locator(".facts")).to_contain_text("window.owned")
    assert await watched.page.evaluate("window.owned") is None
    assert watched.foreign(stage.dev.console_url) == []
    assert watched.complaints == []


async def test_rows_and_pages_are_reached_by_keys(stage: Stage) -> None:
    """`j` and `k` move along the rows, `g r` goes to the routes, and the first Tab offers to skip to the content."""
    watched = await stage.page("/dead-letters?window=all")
    ids = await watched.page.locator(".letters tbody a").all_inner_texts()
    await watched.page.keyboard.press("j")
    await watched.page.keyboard.press("j")
    await watched.page.keyboard.press("k")
    assert await watched.page.evaluate("document.activeElement.textContent") == ids[0]
    await watched.page.keyboard.press("g")
    await watched.page.keyboard.press("r")
    await expect(watched.page.locator("h1")).to_have_text("Routes")
    await watched.page.keyboard.press("Tab")
    assert await watched.page.evaluate("document.activeElement.textContent") == "Skip to content"


@pytest.mark.parametrize("path", ["/", "/dead-letters?window=all"])
async def test_everything_has_a_name_and_fits_a_telephone(stage: Stage, path: str) -> None:
    """For screen readers; and no page is wider than its window."""
    watched = await stage.page(path)
    nameless = await watched.page.evaluate(
        "[...document.querySelectorAll('input:not([type=hidden]), select, button, a, svg[role=img]')]"
        ".filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []
    assert await watched.page.locator("h1").count() == 1
    await watched.page.set_viewport_size({"width": 390, "height": 800})
    assert await watched.page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_both_schemes_are_told_apart(stage: Stage) -> None:
    """Light and dark, as the system says."""
    grounds = {
        scheme: await (await stage.page("/", scheme)).page.evaluate(
            "getComputedStyle(document.body.parentElement).backgroundColor"
        )
        for scheme in ("light", "dark")
    }
    assert grounds["light"] != grounds["dark"]


async def test_a_dead_letter_is_sent_again_once_its_target_is_mended(stage: Stage) -> None:
    """Picked with a box, sent with a button; it is delivered, and sending it a second time does nothing."""
    message_id = await send(stage.http, stage.dev, "again", f"{stage.target}mend-me", "x")
    await until_given_up(stage, message_id)
    stage.mended.add("mend-me")
    for said in ("1 sent again", "0 sent again, 1 left out"):
        watched = await stage.page("/dead-letters?window=all&subject=again")
        button = watched.page.get_by_role("button", name="Replay selected")
        await expect(button).to_be_disabled()
        await watched.page.get_by_label(f"Select {message_id}").check()
        await button.click()
        await expect(watched.page.get_by_role("status").first).to_contain_text(said)
    assert watched.complaints == []
    async with asyncio.timeout(60):
        while True:
            shown = await stage.page(f"/messages/{message_id}")
            states = await shown.page.locator(".title .chip").all_inner_texts()
            if states == ["dead-lettered", "delivered"]:  # the message, and its replay
                break
            await shown.page.context.close()
            await asyncio.sleep(0.5)


async def test_the_command_for_all_that_match_is_one_that_works(stage: Stage) -> None:
    """Run as it stands there, it finds the same: a dry run changes nothing."""
    watched = await stage.page(f"/dead-letters?window=all&text={WORD}")
    await watched.page.get_by_text("All that match").click()
    line = await watched.page.locator(".all pre").inner_text()
    words = shlex.split(line)
    assert words[0] == "chaski"
    process = await asyncio.create_subprocess_exec(
        CHASKI, *words[1:], "--output", "json", stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert orjson.loads(out)["found"] == 1


async def test_a_dead_letter_is_discarded_after_a_question(stage: Stage) -> None:
    """Then it is gone for good."""
    message_id = await send(stage.http, stage.dev, "unwanted", f"{stage.target}never", "x")
    await until_given_up(stage, message_id)
    watched = await stage.page(f"/dead-letters/{message_id}")
    await watched.page.get_by_role("button", name="Discard").click()
    await expect(watched.page.locator("h1")).to_contain_text("Discard")
    await watched.page.get_by_role("button", name="Discard for good").click()
    await expect(watched.page.get_by_role("status").first).to_contain_text("1 discarded")
    await watched.page.goto(f"{stage.dev.console_url}dead-letters/{message_id}")
    await expect(watched.page.locator("h1")).to_have_text("Not found")


async def until_given_up(stage: Stage, message_id: str) -> None:
    """Waits until a message is a dead letter."""
    async with asyncio.timeout(60):
        while True:
            async with stage.http.get(f"{stage.dev.console_url}dead-letters/{message_id}") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.2)
