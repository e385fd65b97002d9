"""The console's pages and forms over HTTP, on fakes."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import aiohttp
import pytest

from chaski_console import server
from chaski_console.app import PAGE_SIZE
from chaski_console.auth.authenticators import SECURITY_HEADERS, ProxyHeaderAuthentication
from chaski_console.data.views import History
from chaski_core.errors import BackendUnavailableError
from unit.console.fakes import NOW, FakeActions, FakeSources, FixedClock, attempt, dead_letter, route_view

HOSTILE = "</title></script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"' \u202e\x1b[31m"
Get = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def fakes() -> FakeSources:
    """What the console reads from."""
    return FakeSources(actions=FakeActions())


@pytest.fixture
async def base(fakes: FakeSources) -> AsyncIterator[str]:
    """The address of a running console."""
    running = await server.start("127.0.0.1", 0, fakes.sources, FixedClock())
    yield f"http://127.0.0.1:{running.port}"
    await running.close()


@pytest.fixture
async def get(base: str) -> AsyncIterator[Get]:
    """Requests a page; returns status and text."""
    async with aiohttp.ClientSession() as http:

        async def request(path: str, **options: object) -> tuple[int, str]:
            async with http.get(base + path, **options) as response:  # type: ignore[arg-type]  # of any kind
                for name, value in SECURITY_HEADERS.items():
                    assert response.headers[name] == value
                return response.status, await response.text()

        yield request


async def post(base: str, form: list[tuple[str, str]], **headers: str) -> tuple[int, str]:
    """Submits a form; returns status and text."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{base}/dead-letters", data=form, headers=headers, allow_redirects=False) as response,
    ):
        return response.status, await response.text()


async def acted(base: str, form: list[tuple[str, str]]) -> str:
    """Submits a form whose action is run; returns the path of the page that the browser is sent to."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{base}/dead-letters", data=form, allow_redirects=False) as response,
    ):
        assert response.status == 303
        return response.headers["Location"]


async def token_of(get: Get) -> str:
    """The CSRF token of a page."""
    _, page = await get("/dead-letters?window=all")
    found = re.search(r'name="token" value="([\w-]+)"', page)
    assert found is not None
    return found[1]


async def test_the_routes_page_shows_the_figures_of_each_route(get: Get) -> None:
    """Rates, failures, backlog and age."""
    status, page = await get("/")
    assert status == 200
    for figure in (">12.3<", ">9.0<", ">25 %<", ">10<", ">2 min<", ">30.0<"):
        assert figure in page


@pytest.mark.promise(8)
async def test_unknown_values_are_not_shown_as_zero(get: Get, fakes: FakeSources) -> None:
    """Here the counts of a queue, and the rates."""
    (one,) = fakes.status.views
    fakes.status.views = [
        replace(one, rates=None, queues=(replace(one.queues[0], counts=None, oldest_age_seconds=None),))
    ]
    _, page = await get("/")
    assert re.search(r'data-key="n/r backlog">\u2013<', page)
    assert re.search(r'data-key="n/r accepted">\u2013<', page)


async def test_an_open_page_receives_updates(base: str, fakes: FakeSources) -> None:
    """Values by the keys of the page's elements."""
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{base}/") as response:
            keys = set(re.findall(r'data-key="([^"]+)"', await response.text()))
        async with http.get(f"{base}/live") as stream, asyncio.timeout(30):
            assert stream.content_type == "text/event-stream"
            first = json.loads((await stream.content.readuntil(b"\n\n")).removeprefix(b"data: "))
            fakes.status.views = [route_view(ordering="Relaxed", rates=None)]
            while (event := await stream.content.readuntil(b"\n\n")).startswith(b":"):
                pass
            later = json.loads(event.removeprefix(b"data: "))
    assert later["values"]["n/r accepted"] == "\u2013"
    assert len(later["values"]) < len(first["values"])  # only what has changed
    assert first["values"]["n/r accepted"] == "12.3"
    assert later["layout"] == first["layout"]
    assert {key.removesuffix("!") for key in first["values"]} == keys


@pytest.mark.promise(13)
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("window=all", {"m-1", "m-2", "m-3"}),
        ("window=1h", {"m-1", "m-2"}),
        ("window=all&subject=other", {"m-2"}),
        ("window=all&target=u", {"m-3"}),
        ("window=all&class=5xx", {"m-3"}),
        ("window=all&text=HELLO", {"m-1", "m-2"}),
        ("window=all&route=x%2Fy", set()),
        ("since=1970-01-01&until=2000-01-01", set()),
    ],
    ids=["all", "window", "subject", "target", "class", "text", "route", "times"],
)
async def test_a_search_finds_dead_letters(get: Get, fakes: FakeSources, query: str, found: set[str]) -> None:
    """By time, subject, target, class, text and route."""
    await fakes.put(
        dead_letter("m-1"),
        dead_letter("m-2", subject="other"),
        dead_letter("m-3", NOW - 7_200_000, target="u", error_class="503", envelope={"subject": "s", "body": {}}),
    )
    status, page = await get(f"/dead-letters?{query}")
    assert status == 200
    assert set(re.findall(r'href="/dead-letters/(m-\d)"', page)) == found


async def test_pages_of_a_search_show_each_dead_letter_once(get: Get, fakes: FakeSources) -> None:
    """Also if many have the same millisecond."""
    total = 3 * PAGE_SIZE + 7
    await fakes.put(*(dead_letter(f"m-{number}", NOW - 60_000 + number // 40) for number in range(total)))
    seen: list[str] = []
    path: str | None = "/dead-letters?window=all"
    while path:
        _, page = await get(path)
        seen += re.findall(r'href="/dead-letters/(m-\d+)"', page)
        following = re.search(r'href="([^"]+)" class="button">Next page', page)
        path = following[1].replace("&amp;", "&") if following else None
    assert len(seen) == len(set(seen)) == total


async def test_an_invalid_search_shows_an_error(get: Get) -> None:
    """And no results."""
    status, page = await get("/dead-letters?since=yesterday")
    assert status == 200
    assert 'role="alert"' in page
    assert "yesterday" in page
    assert "<table" not in page


@pytest.mark.promise(13)
async def test_a_message_is_shown_attempt_by_attempt(get: Get, fakes: FakeSources) -> None:
    """Found with the search box of the header."""
    fakes.histories.known["m-1"] = History("m-1", "order-1", "s", "delivered", (attempt(1), attempt(2, "delivered")))
    status, page = await get("/messages?id=m-1")
    assert status == 200
    assert page.count('class="step"') == 2
    assert "delivered" in page
    assert "order-1" in page


@pytest.mark.promise(13)
async def test_every_message_of_a_label_is_shown(get: Get, fakes: FakeSources) -> None:
    """Each with its state and attempts, including a dead letter without a history."""
    delivered = History("m-2", "order-1", "s", "delivered", (attempt(1, "delivered"),), "m-1")
    fakes.histories.known["order-1"] = delivered
    await fakes.put(dead_letter("m-1", id="order-1"))
    status, page = await get("/messages/order-1")
    assert status == 200
    assert "2 messages" in page
    assert page.count("<article") == 2
    assert [state in page for state in ("delivered", "dead-lettered", "replay of")] == [True, True, True]
    assert 'href="/dead-letters/m-1"' in page
    assert 'href="/dead-letters/m-2"' not in page


async def test_without_a_journal_a_dead_letter_still_has_a_history(get: Get, fakes: FakeSources) -> None:
    """On AWS attempts are only in the logs."""
    await fakes.put(dead_letter())
    status, page = await get("/messages/m-1")
    assert status == 200
    assert "dead-lettered" in page


@pytest.mark.parametrize(
    "path", ["/messages/none", "/dead-letters/none", "/nowhere", "/static/..%2fapp.py", "/static/app.py"]
)
async def test_unknown_paths_and_ids_are_404(get: Get, path: str) -> None:
    """With an error page; only files of the static folder are served."""
    status, page = await get(path)
    assert status == 404
    assert "<h1>" in page


@pytest.mark.parametrize("path", ["/", "/dead-letters?window=all", "/dead-letters/m-1", "/messages/m-1"])
async def test_hostile_content_stays_text(get: Get, fakes: FakeSources, path: str) -> None:
    """On every page that shows values from outside."""
    fakes.status.views = [route_view(f"n/{HOSTILE}", queues=(replace(route_view().queues[0], name=HOSTILE),))]
    errors = tuple(replace(note, detail=HOSTILE, excerpt=HOSTILE) for note in dead_letter().errors)
    await fakes.put(
        dead_letter(subject=HOSTILE, target=HOSTILE, url=f"javascript:{HOSTILE}", errors=errors, detail=HOSTILE,
               envelope={"subject": HOSTILE, "body": {"content": HOSTILE}})
    )  # fmt: skip
    fakes.histories.known["m-1"] = History("m-1", HOSTILE, HOSTILE, "pending", (attempt(1, detail=HOSTILE),))
    _, page = await get(path)
    assert "&lt;img" in page
    assert "<img" not in page
    assert page.count("<script") == 1  # the console's own
    assert "</title></script>" not in page
    assert not set(page) & {"\u202e", "\x1b"}
    assert 'href="javascript' not in page


async def test_a_hostile_search_stays_text(get: Get) -> None:
    """The form shows it again."""
    _, page = await get("/dead-letters", params={"text": HOSTILE, "since": HOSTILE, "route": HOSTILE})
    assert "<img" not in page


async def test_selected_dead_letters_are_replayed(base: str, get: Get, fakes: FakeSources) -> None:
    """And no others."""
    await fakes.put(dead_letter("m-1"), dead_letter("m-2"), dead_letter("m-3"))
    form = [("token", await token_of(get)), ("action", "replay"), ("id", "m-1"), ("id", "m-3")]
    status, page = await get(await acted(base, form))
    assert (status, "2 replayed" in page) == (200, True)
    assert fakes.actions is not None
    assert fakes.actions.done == [("replay", ["m-1", "m-3"])]


async def test_the_search_stays_after_an_action_and_a_reload_repeats_nothing(
    base: str, get: Get, fakes: FakeSources
) -> None:
    """The result is shown once."""
    await fakes.put(dead_letter("m-1"), dead_letter("m-2", subject="another"))
    back = "/dead-letters?window=all&subject=another"
    form = [("token", await token_of(get)), ("action", "replay"), ("id", "m-2"), ("back", back)]
    address = await acted(base, form)
    assert address.startswith(f"{back}&done=")
    _, page = await get(address)
    assert "1 replayed" in page
    assert re.findall(r'name="id" value="([^"]+)"', page) == ["n/r m-2"]
    _, again = await get(address)
    assert "1 replayed" not in again
    assert re.findall(r'name="id" value="([^"]+)"', again) == ["n/r m-2"]
    assert fakes.actions is not None
    assert fakes.actions.done == [("replay", ["m-2"])]


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/",
        "//[",
        "/dead-letters/../login",
        "/dead-letters/%2e%2e/login",
        "//evil.example/dead-letters",
        "/\\evil.example",
        "/dead-lettersX",
        "javascript:1",
        "",
        "/",
    ],
)
async def test_a_form_can_not_send_the_browser_elsewhere(base: str, get: Get, fakes: FakeSources, back: str) -> None:
    """It ends at the list of dead letters."""
    await fakes.put(dead_letter("m-1"))
    form = [("token", await token_of(get)), ("action", "replay"), ("id", "m-1"), ("back", back)]
    assert (await acted(base, form)).startswith("/dead-letters?done=")


async def test_discard_asks_for_confirmation(base: str, get: Get, fakes: FakeSources) -> None:
    """And acts only when confirmed."""
    await fakes.put(dead_letter("m-1"))
    assert fakes.actions is not None
    form = [("token", await token_of(get)), ("action", "discard"), ("id", "m-1")]
    status, page = await post(base, form)
    assert (status, 'name="confirmed"' in page, fakes.actions.done) == (200, True, [])
    await post(base, [*form, ("confirmed", "yes")])
    assert fakes.actions.done == [("discard", ["m-1"])]


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ([("token", "0" * 64)], {}),
        ([], {}),
        (None, {"Origin": "http://attacker.example"}),
        (None, {"Sec-Fetch-Site": "cross-site"}),
        (None, {"Host": "attacker.example"}),
    ],
    ids=["wrong-token", "no-token", "origin", "cross-site", "rebound-name"],
)
async def test_other_sites_cannot_act(
    base: str, get: Get, fakes: FakeSources, fields: list[tuple[str, str]] | None, headers: dict[str, str]
) -> None:
    """Nothing is done, even if everything else is valid."""
    await fakes.put(dead_letter("m-1"))
    if fields is None:
        fields = [("token", await token_of(get))]
    status, _ = await post(base, [*fields, ("action", "replay"), ("id", "m-1")], **headers)
    assert status == 403
    assert fakes.actions is not None
    assert fakes.actions.done == []


async def test_get_requests_change_nothing(get: Get, fakes: FakeSources) -> None:
    """Many programs follow links."""
    await fakes.put(dead_letter("m-1"))
    await get(f"/dead-letters?window=all&action=replay&id=m-1&token={await token_of(get)}")
    assert fakes.actions is not None
    assert fakes.actions.done == []


async def test_a_read_only_console_has_no_buttons() -> None:
    """And denies the forms."""
    fakes = FakeSources()
    await fakes.put(dead_letter("m-1"))
    running = await server.start("127.0.0.1", 0, fakes.sources, FixedClock())
    base = f"http://127.0.0.1:{running.port}"
    try:
        async with aiohttp.ClientSession() as http, http.get(f"{base}/dead-letters/m-1") as response:
            assert "<button" not in await response.text()
        status, _ = await post(base, [("token", ""), ("action", "replay"), ("id", "m-1")])
        assert status == 403
    finally:
        await running.close()


async def test_behind_a_proxy_a_user_name_is_required(fakes: FakeSources) -> None:
    """And the page shows it."""
    running = await server.start(
        "127.0.0.1", 0, fakes.sources, FixedClock(), ProxyHeaderAuthentication("X-Forwarded-User")
    )
    try:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{running.port}/") as response:
                assert response.status == 401
                assert "Routes</h1>" not in await response.text()
            headers = {"X-Forwarded-User": "ada", "Host": "console.example"}
            async with http.get(f"http://127.0.0.1:{running.port}/", headers=headers) as response:
                assert response.status == 200
                assert ">ada<" in await response.text()
    finally:
        await running.close()


async def test_in_a_cluster_a_replay_resource_covers_all_that_match(fakes: FakeSources) -> None:
    """For one route, with any text in the search; without a route none is shown."""
    hostile = "x\nEND\nrm -rf <b>"
    await fakes.put(dead_letter("m-1"), dead_letter("m-2", subject=hostile))
    sources = replace(fakes.sources, in_cluster=True)
    running = await server.start("127.0.0.1", 0, sources, FixedClock())
    query = {"window": "7d", "route": "n/r", "target": "t"}
    try:
        async with aiohttp.ClientSession() as http:

            async def shown(**asked: str) -> str:
                async with http.get(f"http://127.0.0.1:{running.port}/dead-letters", params=asked) as response:
                    return await response.text()

            found = re.search(
                r"<pre>kubectl create -f - &lt;&lt;&#39;END&#39;\n(.+)\nEND</pre>", await shown(**query), re.DOTALL
            )
            assert found is not None
            document = json.loads(html.unescape(found[1]))
            assert document["metadata"] == {"generateName": "replay-", "namespace": "n"}
            assert document["spec"] == {
                "routeRef": {"name": "r"},
                "filter": {"since": "7d", "target": "t"},
                "dryRun": True,
            }
            assert "Choose a route" in await shown(window="7d")
            found = re.search(r"<pre>(kubectl .+?)</pre>", await shown(**query, subject=hostile), re.DOTALL)
            assert found is not None
            lines = html.unescape(found[1]).splitlines()
            assert [number for number, line in enumerate(lines) if line == "END"] == [len(lines) - 1]
            assert json.loads("\n".join(lines[1:-1]))["spec"]["filter"]["subject"] == hostile
    finally:
        await running.close()


async def test_a_selection_names_route_and_identity(base: str, get: Get, fakes: FakeSources) -> None:
    """Producers choose ids, so another route may have the same one."""
    await fakes.put(dead_letter("m-1"), dead_letter("m-2", NOW - 90_000, id="m-1", route="n/other", subject="o"))
    _, page = await get("/dead-letters?window=all&route=n%2Fr")
    assert re.findall(r'name="id" value="([^"]+)"', page) == ["n/r m-1"]
    for picked, found in (("n/r m-1", 1), ("m-1", 2)):
        form = [("token", await token_of(get)), ("action", "replay"), ("id", picked)]
        assert f"{found} replayed" in (await get(await acted(base, form)))[1]


async def test_an_unserved_route_is_shown_with_the_reason(get: Get, fakes: FakeSources) -> None:
    """And without figures."""
    fakes.status.views.append(route_view("n/new", queues=(), rungs=(), rates=None, unserved_reason="not <made> yet"))
    _, page = await get("/")
    assert "not &lt;made&gt; yet" in page
    assert 'data-key="n/new' not in page


@pytest.mark.promise(10)
@pytest.mark.parametrize("path", ["/", "/dead-letters"])
async def test_a_stale_list_of_routes_is_announced(get: Get, fakes: FakeSources, path: str) -> None:
    """The known routes are still shown."""
    fakes.status.stale = "the API server does not answer"
    _, page = await get(path)
    assert "the API server does not answer" in page
    assert "n/r" in page


async def test_an_open_page_is_reloaded_when_its_routes_become_stale(base: str, fakes: FakeSources) -> None:
    """Once; afterwards only the reason changes."""
    layouts = []
    for reason in (None, "timeout", "connection refused"):
        fakes.status.stale = reason
        async with aiohttp.ClientSession() as http, http.get(f"{base}/live") as stream, asyncio.timeout(30):
            update = json.loads((await stream.content.readuntil(b"\n\n")).removeprefix(b"data: "))
            layouts.append(update["layout"])
            assert update["values"].get("stale") == reason
    assert layouts[0] != layouts[1] == layouts[2]


async def test_an_unreadable_store_is_not_reported_as_not_found(get: Get, fakes: FakeSources) -> None:
    """The dead letter may be in the store that can't be read."""
    await fakes.put(dead_letter("m-1"))
    fakes.unreadable = {"n/other": "the table is unavailable"}
    status, page = await get("/dead-letters?window=all")
    assert status == 200
    assert "n/other: the table is unavailable" in page
    assert "m-1" in page
    for path in ("/dead-letters/none", "/messages/none"):
        status, page = await get(path)
        assert (status, "n/other" in page) == (503, True)
    assert (await get("/dead-letters/m-1"))[0] == 200


async def test_a_failed_action_is_logged(
    base: str, get: Get, fakes: FakeSources, caplog: pytest.LogCaptureFixture
) -> None:
    """A replay that failed half-way may have sent messages."""
    await fakes.put(dead_letter("m-1"))

    async def fail(_: object) -> str:
        raise BackendUnavailableError("the queue is unavailable")

    assert fakes.actions is not None
    fakes.actions.replay = fail  # type: ignore[assignment,method-assign]  # fails when called
    caplog.set_level("INFO")
    status, _ = await post(base, [("token", await token_of(get)), ("action", "replay"), ("id", "m-1")])
    assert status == 503
    (line,) = [record for record in caplog.records if getattr(record, "ecs", {}).get("event.action") == "replay"]
    assert line.ecs["event.outcome"] == "failure"  # type: ignore[attr-defined]
    assert "the queue is unavailable" in line.getMessage()


async def test_an_unavailable_backend_is_503(get: Get, fakes: FakeSources) -> None:
    """Not 404."""

    async def fail(_: str) -> list[object]:
        raise BackendUnavailableError("the table is unavailable")

    fakes.store.get = fail  # type: ignore[assignment,method-assign]  # fails when called
    status, page = await get("/dead-letters/m-1")
    assert status == 503
    assert "the table is unavailable" in page
