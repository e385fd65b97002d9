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

from support.processes.browser import RecordedPage, chromium, open_page
from support.processes.dev import CHASKI, DevServer, dev_server, recording_target, route, settled_total

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240), pytest.mark.landing]

HOSTILE = "</title><script>window.owned=1</script><img src=x onerror='window.owned=1'>"
WORD = "Quipucamayoc"


@dataclass
class Context:
    """A browser, and a `chaski dev` with a delivered message and dead letters."""

    browser: Browser
    dev: DevServer
    http: aiohttp.ClientSession
    target: str
    fixed: set[str]  # paths that respond 200 from now on
    delivered: str  # ids
    dead_letter: str

    async def page(self, path: str, scheme: str = "light") -> RecordedPage:
        """An open page of the console."""
        recorded = await open_page(self.browser, scheme)
        await recorded.page.goto(f"{self.dev.console_url.rstrip('/')}{path}")
        return recorded


async def send(http: aiohttp.ClientSession, dev: DevServer, subject: str, url: str, content: str) -> str:
    """Sends a message to route `t/r`; returns its id."""
    message = {"subject": subject, "body": {"url": url, "content": content}}
    async with http.post(f"{dev.url}/v1/routes/t/r/messages", json=message) as response:
        assert response.status == 202
        return str((await response.json())["id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def context(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Context]:
    """With one message delivered after a retry, one dead letter, and one hostile dead letter."""
    folder: Path = tmp_path_factory.mktemp("console")
    ladders = [{"class": "5xx", "retriesPerRung": 1, "rungs": ["fast"]}]
    retry = {"rungs": [{"name": "fast", "delaySeconds": 1}], "ladders": ladders}

    fixed: set[str] = set()

    def respond(path: str, _: str, attempt: int) -> tuple[float, int]:
        if path.strip("/") in fixed:
            return 0, 200
        return 0, 200 if path.startswith("/good") or (path.startswith("/second") and attempt > 1) else 503

    async with (
        chromium() as browser,
        recording_target(respond) as target,
        dev_server(folder, route("r", target.url, retry=retry)) as dev,
        aiohttp.ClientSession() as http,
    ):
        delivered = await send(http, dev, "order-1", f"{target.url}second", "hello")
        dead_letter = await send(http, dev, "order-2", f"{target.url}bad", f"about {WORD}")
        await send(http, dev, HOSTILE, f"{target.url}bad", HOSTILE)
        async with asyncio.timeout(60):
            while await settled_total(http, dev.metrics_url) < 3:
                await asyncio.sleep(0.2)
        yield Context(browser, dev, http, target.url, fixed, delivered, dead_letter)


async def test_open_pages_update_their_figures(context: Context) -> None:
    """Without reloading the page, and with requests to the console only."""
    recorded = await context.page("/")
    accepted = recorded.page.locator('[data-key="t/r accepted"]')
    await expect(recorded.page.locator("h1")).to_have_text("Routes")
    await expect(recorded.page.locator(".live.on")).to_be_visible()
    await expect(accepted).to_have_text("0", timeout=60_000)
    loads = len([url for url in recorded.requests if url.rstrip("/") == context.dev.console_url.rstrip("/")])
    for number in range(20):
        await send(context.http, context.dev, f"more-{number}", f"{context.target}good", "x")
    await expect(accepted).not_to_have_text("0", timeout=60_000)
    assert len([url for url in recorded.requests if url.rstrip("/") == context.dev.console_url.rstrip("/")]) == loads
    assert recorded.foreign_requests(context.dev.console_url) == []
    assert recorded.errors == []


@pytest.mark.promise(13)
@pytest.mark.parametrize(("field", "value"), [("Subject", "order-2"), ("Text", WORD.lower())])
async def test_a_search_finds_a_dead_letter(context: Context, field: str, value: str) -> None:
    """By its subject, and by a word of its content."""
    recorded = await context.page("/dead-letters")
    await recorded.page.get_by_label(field).fill(value)
    await recorded.page.get_by_role("button", name="Search").click()
    links = recorded.page.locator(".dead-letters tbody a")
    await expect(links).to_have_count(1)
    await expect(links).to_have_text(context.dead_letter)
    await links.click()
    await expect(recorded.page.locator(".document")).to_contain_text(WORD)
    await expect(recorded.page.locator(".errors li")).to_have_count(2)
    assert recorded.errors == []


@pytest.mark.promise(13)
async def test_a_message_is_found_by_its_id_from_any_page(context: Context) -> None:
    """With the keyboard alone: `/`, the id, Enter."""
    recorded = await context.page("/dead-letters")
    await recorded.page.keyboard.press("/")
    await recorded.page.keyboard.type(context.delivered)
    await recorded.page.keyboard.press("Enter")
    await expect(recorded.page.locator("h1")).to_contain_text(context.delivered)
    await expect(recorded.page.locator(".title .chip")).to_have_text("delivered")
    await expect(recorded.page.locator(".attempts li")).to_have_count(2)


async def test_hostile_content_does_nothing(context: Context) -> None:
    """In the list, on its own page, and in its history."""
    recorded = await context.page("/dead-letters?window=all")
    row = recorded.page.locator(".dead-letters tbody tr", has_text="window.owned")
    await expect(row).to_have_count(1)
    await row.locator("a").click()
    await expect(recorded.page.locator(".document")).to_contain_text("onerror")
    await recorded.page.get_by_role("link", name="History").click()
    await expect(recorded.page.locator(".facts")).to_contain_text("window.owned")
    assert await recorded.page.evaluate("window.owned") is None
    assert recorded.foreign_requests(context.dev.console_url) == []
    assert recorded.errors == []


async def test_keyboard_shortcuts(context: Context) -> None:
    """`j` and `k` move along the rows, `g r` goes to the routes, and the first Tab offers to skip to the content."""
    recorded = await context.page("/dead-letters?window=all")
    ids = await recorded.page.locator(".dead-letters tbody a").all_inner_texts()
    await recorded.page.keyboard.press("j")
    await recorded.page.keyboard.press("j")
    await recorded.page.keyboard.press("k")
    assert await recorded.page.evaluate("document.activeElement.textContent") == ids[0]
    await recorded.page.keyboard.press("g")
    await recorded.page.keyboard.press("r")
    await expect(recorded.page.locator("h1")).to_have_text("Routes")
    await recorded.page.keyboard.press("Tab")
    assert await recorded.page.evaluate("document.activeElement.textContent") == "Skip to content"


@pytest.mark.parametrize("path", ["/", "/dead-letters?window=all"])
async def test_controls_have_names_and_pages_fit_a_phone(context: Context, path: str) -> None:
    """Names are for screen readers; no page is wider than its window."""
    recorded = await context.page(path)
    nameless = await recorded.page.evaluate(
        "[...document.querySelectorAll('input:not([type=hidden]), select, button, a, svg[role=img]')]"
        ".filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []
    assert await recorded.page.locator("h1").count() == 1
    await recorded.page.set_viewport_size({"width": 390, "height": 800})
    assert await recorded.page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_light_and_dark_schemes_differ(context: Context) -> None:
    """The scheme follows the system."""
    backgrounds = {
        scheme: await (await context.page("/", scheme)).page.evaluate(
            "getComputedStyle(document.body.parentElement).backgroundColor"
        )
        for scheme in ("light", "dark")
    }
    assert backgrounds["light"] != backgrounds["dark"]


async def test_a_dead_letter_is_replayed_after_its_target_is_fixed(context: Context) -> None:
    """Selected with its checkbox and replayed with the button; it is delivered, and a second replay skips it."""
    message_id = await send(context.http, context.dev, "again", f"{context.target}fix-me", "x")
    await until_dead_letter(context, message_id)
    context.fixed.add("fix-me")
    for result in ("1 replayed", "0 replayed, 1 skipped"):
        recorded = await context.page("/dead-letters?window=all&subject=again")
        button = recorded.page.get_by_role("button", name="Replay selected")
        await expect(button).to_be_disabled()
        await recorded.page.get_by_label(f"Select {message_id}").check()
        await button.click()
        await expect(recorded.page.get_by_role("status").first).to_contain_text(result)
    assert recorded.errors == []
    async with asyncio.timeout(60):
        while True:
            shown = await context.page(f"/messages/{message_id}")
            states = await shown.page.locator(".title .chip").all_inner_texts()
            if states == ["dead-lettered", "delivered"]:  # the message, and its replay
                break
            await shown.page.context.close()
            await asyncio.sleep(0.5)


async def test_the_command_for_all_that_match_works(context: Context) -> None:
    """Run as shown, it finds the same dead letter; it is a dry run."""
    recorded = await context.page(f"/dead-letters?window=all&text={WORD}")
    await recorded.page.get_by_text("Replay all that match").click()
    line = await recorded.page.locator(".all pre").inner_text()
    words = shlex.split(line)
    assert words[0] == "chaski"
    process = await asyncio.create_subprocess_exec(
        CHASKI, *words[1:], "--output", "json", stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert orjson.loads(out)["found"] == 1


async def test_a_dead_letter_is_discarded_after_a_confirmation(context: Context) -> None:
    """And is deleted."""
    message_id = await send(context.http, context.dev, "unwanted", f"{context.target}never", "x")
    await until_dead_letter(context, message_id)
    recorded = await context.page(f"/dead-letters/{message_id}")
    await recorded.page.get_by_role("button", name="Discard").click()
    await expect(recorded.page.locator("h1")).to_contain_text("Discard")
    await recorded.page.get_by_role("button", name="Discard permanently").click()
    await expect(recorded.page.get_by_role("status").first).to_contain_text("1 discarded")
    await recorded.page.goto(f"{context.dev.console_url}dead-letters/{message_id}")
    await expect(recorded.page.locator("h1")).to_have_text("Not found")


async def until_dead_letter(context: Context, message_id: str) -> None:
    """Waits until a message is a dead letter."""
    async with asyncio.timeout(60):
        while True:
            async with context.http.get(f"{context.dev.console_url}dead-letters/{message_id}") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.2)
