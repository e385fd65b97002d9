"""The console over HTTP, on fakes: what it answers, and what it never does."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import aiohttp
import pytest

from chaski_console import server
from chaski_console.app import PAGE
from chaski_console.auth.authenticators import HEADERS, ProxyHeaderAuthentication
from chaski_console.data.views import History
from chaski_core.errors import BackendUnavailableError
from unit.console.fakes import NOW, FakeActions, FixedClock, World, attempt, letter, view

HOSTILE = "</title></script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"' \u202e\x1b[31m"
Get = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def world() -> World:
    """What the console reads from."""
    return World(actions=FakeActions())


@pytest.fixture
async def base(world: World) -> AsyncIterator[str]:
    """A running console; its address."""
    running = await server.start("127.0.0.1", 0, world.sources, FixedClock())
    yield f"http://127.0.0.1:{running.port}"
    await running.close()


@pytest.fixture
async def get(base: str) -> AsyncIterator[Get]:
    """Asks for a page; status and text."""
    async with aiohttp.ClientSession() as http:

        async def ask(path: str, **options: object) -> tuple[int, str]:
            async with http.get(base + path, **options) as answer:  # type: ignore[arg-type]  # of any kind
                for name, value in HEADERS.items():
                    assert answer.headers[name] == value
                return answer.status, await answer.text()

        yield ask


async def post(base: str, form: list[tuple[str, str]], **headers: str) -> tuple[int, str]:
    """Sends a form; status and text."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{base}/dead-letters", data=form, headers=headers, allow_redirects=False) as answer,
    ):
        return answer.status, await answer.text()


async def token_of(get: Get) -> str:
    """The token that forms of a page carry."""
    _, page = await get("/dead-letters?window=all")
    found = re.search(r'name="token" value="(\w+)"', page)
    assert found is not None
    return found[1]


async def test_routes_are_shown_with_their_figures(get: Get) -> None:
    """Rates, failures, backlog and age."""
    status, page = await get("/")
    assert status == 200
    for figure in (">12.3<", ">9.0<", ">25 %<", ">10<", ">2 min<", ">30.0<"):
        assert figure in page


@pytest.mark.promise(8)
async def test_what_is_unknown_is_not_shown_as_zero(get: Get, world: World) -> None:
    """A queue that does not answer, rates that nobody has."""
    (one,) = world.board.views
    world.board.views = [
        replace(one, rates=None, queues=(replace(one.queues[0], counts=None, oldest_age_seconds=None),))
    ]
    _, page = await get("/")
    assert re.search(r'data-key="n/r backlog">\u2013<', page)
    assert re.search(r'data-key="n/r accepted">\u2013<', page)


async def test_an_open_page_is_told_what_changes(base: str, world: World) -> None:
    """Texts by the keys of the page's own elements."""
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{base}/") as answer:
            keys = set(re.findall(r'data-key="([^"]+)"', await answer.text()))
        async with http.get(f"{base}/live") as stream, asyncio.timeout(30):
            assert stream.content_type == "text/event-stream"
            first = json.loads((await stream.content.readuntil(b"\n\n")).removeprefix(b"data: "))
            world.board.views = [view(ordering="Relaxed", rates=None)]
            while True:
                later = json.loads((await stream.content.readuntil(b"\n\n")).removeprefix(b"data: "))
                if later["values"]["n/r accepted"] == "\u2013":
                    break
    assert first["values"]["n/r accepted"] == "12.3"
    assert later["shape"] == first["shape"]
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
async def test_dead_letters_are_found(get: Get, world: World, query: str, found: set[str]) -> None:
    """By time, subject, target, class, text and route."""
    await world.keep(
        letter("m-1"),
        letter("m-2", subject="other"),
        letter("m-3", NOW - 7_200_000, target="u", error_class="503", envelope={"subject": "s", "body": {}}),
    )
    status, page = await get(f"/dead-letters?{query}")
    assert status == 200
    assert set(re.findall(r'href="/dead-letters/(m-\d)"', page)) == found


async def test_any_number_of_dead_letters_is_paged_through(get: Get, world: World) -> None:
    """Each once, also where many have the same millisecond."""
    total = 3 * PAGE + 7
    await world.keep(*(letter(f"m-{number}", NOW - 60_000 + number // 40) for number in range(total)))
    seen: list[str] = []
    path: str | None = "/dead-letters?window=all"
    while path:
        _, page = await get(path)
        seen += re.findall(r'href="/dead-letters/(m-\d+)"', page)
        following = re.search(r'href="([^"]+)" class="button">Next page', page)
        path = following[1].replace("&amp;", "&") if following else None
    assert len(seen) == len(set(seen)) == total


async def test_a_wrong_search_is_told_and_searches_nothing(get: Get) -> None:
    """In a sentence on the page."""
    status, page = await get("/dead-letters?since=yesterday")
    assert status == 200
    assert "is no time" in page


@pytest.mark.promise(13)
async def test_a_message_is_told_attempt_by_attempt(get: Get, world: World) -> None:
    """From its id in the box above."""
    world.histories.known["m-1"] = History("m-1", "order-1", "s", "delivered", (attempt(1), attempt(2, "delivered")))
    status, page = await get("/messages?id=m-1")
    assert status == 200
    assert page.count('class="step"') == 2
    assert "delivered" in page
    assert "order-1" in page


@pytest.mark.promise(13)
async def test_every_message_of_a_label_is_shown(get: Get, world: World) -> None:
    """Each with its state and its own attempts; a dead letter that no history has is one of them."""
    delivered = History("m-2", "order-1", "s", "delivered", (attempt(1, "delivered"),), "m-1")
    world.histories.known["order-1"] = delivered
    await world.keep(letter("m-1", id="order-1"))
    status, page = await get("/messages/order-1")
    assert status == 200
    assert "2 messages" in page
    assert page.count("<article") == 2
    assert [state in page for state in ("delivered", "dead-lettered", "replay of")] == [True, True, True]
    assert 'href="/dead-letters/m-1"' in page
    assert 'href="/dead-letters/m-2"' not in page


async def test_without_a_journal_a_dead_letter_still_has_a_history(get: Get, world: World) -> None:
    """On AWS attempts are in the logs only."""
    await world.keep(letter())
    status, page = await get("/messages/m-1")
    assert status == 200
    assert "dead-lettered" in page


@pytest.mark.parametrize(
    "path", ["/messages/none", "/dead-letters/none", "/nowhere", "/static/..%2fapp.py", "/static/app.py"]
)
async def test_what_is_not_there_is_not_found(get: Get, path: str) -> None:
    """With a page that says so; no file but the console's own is given away."""
    status, page = await get(path)
    assert status == 404
    assert "<h1>" in page


@pytest.mark.parametrize("path", ["/", "/dead-letters?window=all", "/dead-letters/m-1", "/messages/m-1"])
async def test_hostile_content_stays_text(get: Get, world: World, path: str) -> None:
    """In every place that shows something from outside."""
    world.board.views = [view(f"n/{HOSTILE}", queues=(replace(view().queues[0], name=HOSTILE),))]
    errors = tuple(replace(note, detail=HOSTILE, excerpt=HOSTILE) for note in letter().errors)
    await world.keep(
        letter(subject=HOSTILE, target=HOSTILE, url=f"javascript:{HOSTILE}", errors=errors, detail=HOSTILE,
               envelope={"subject": HOSTILE, "body": {"content": HOSTILE}})
    )  # fmt: skip
    world.histories.known["m-1"] = History("m-1", HOSTILE, HOSTILE, "pending", (attempt(1, detail=HOSTILE),))
    _, page = await get(path)
    assert "&lt;img" in page
    assert "<img" not in page
    assert page.count("<script") == 1  # the console's own
    assert "</title></script>" not in page
    assert not set(page) & {"\u202e", "\x1b"}
    assert 'href="javascript' not in page


async def test_a_search_that_is_hostile_stays_text(get: Get) -> None:
    """It stands in the form again."""
    _, page = await get("/dead-letters", params={"text": HOSTILE, "since": HOSTILE, "route": HOSTILE})
    assert "<img" not in page


async def test_what_is_selected_is_sent_again(base: str, get: Get, world: World) -> None:
    """Only that."""
    await world.keep(letter("m-1"), letter("m-2"), letter("m-3"))
    form = [("token", await token_of(get)), ("action", "replay"), ("id", "m-1"), ("id", "m-3")]
    status, page = await post(base, form)
    assert (status, "2 sent again" in page) == (200, True)
    assert world.actions is not None
    assert world.actions.done == [("replay", ["m-1", "m-3"])]


async def test_discarding_asks_first(base: str, get: Get, world: World) -> None:
    """And does it when that is confirmed."""
    await world.keep(letter("m-1"))
    assert world.actions is not None
    form = [("token", await token_of(get)), ("action", "discard"), ("id", "m-1")]
    status, page = await post(base, form)
    assert (status, "for good" in page, world.actions.done) == (200, True, [])
    await post(base, [*form, ("confirmed", "yes")])
    assert world.actions.done == [("discard", ["m-1"])]


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
async def test_no_other_site_can_act(
    base: str, get: Get, world: World, fields: list[tuple[str, str]] | None, headers: dict[str, str]
) -> None:
    """Nothing is done, whatever else is right."""
    await world.keep(letter("m-1"))
    if fields is None:
        fields = [("token", await token_of(get))]
    status, _ = await post(base, [*fields, ("action", "replay"), ("id", "m-1")], **headers)
    assert status == 403
    assert world.actions is not None
    assert world.actions.done == []


async def test_getting_a_page_does_nothing(get: Get, world: World) -> None:
    """Links are followed by all kinds of programs."""
    await world.keep(letter("m-1"))
    await get(f"/dead-letters?window=all&action=replay&id=m-1&token={await token_of(get)}")
    assert world.actions is not None
    assert world.actions.done == []


async def test_a_console_that_only_shows_has_no_buttons() -> None:
    """And refuses a form all the same."""
    world = World()
    await world.keep(letter("m-1"))
    running = await server.start("127.0.0.1", 0, world.sources, FixedClock())
    base = f"http://127.0.0.1:{running.port}"
    try:
        async with aiohttp.ClientSession() as http, http.get(f"{base}/dead-letters/m-1") as answer:
            assert "<button" not in await answer.text()
        status, _ = await post(base, [("token", ""), ("action", "replay"), ("id", "m-1")])
        assert status == 403
    finally:
        await running.close()


async def test_behind_a_proxy_nobody_gets_in_without_a_name(world: World) -> None:
    """And who is in is named on the page."""
    running = await server.start(
        "127.0.0.1", 0, world.sources, FixedClock(), ProxyHeaderAuthentication("X-Forwarded-User")
    )
    try:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{running.port}/") as answer:
                assert answer.status == 401
                assert "Routes</h1>" not in await answer.text()
            headers = {"X-Forwarded-User": "ada", "Host": "console.example"}
            async with http.get(f"http://127.0.0.1:{running.port}/", headers=headers) as answer:
                assert answer.status == 200
                assert ">ada<" in await answer.text()
    finally:
        await running.close()


async def test_in_a_cluster_all_that_match_are_sent_again_by_a_replay(world: World) -> None:
    """A document for one route, whatever stands in the search; without a route there is none."""
    hostile = "x\nEND\nrm -rf <b>"
    await world.keep(letter("m-1"), letter("m-2", subject=hostile))
    sources = replace(world.sources, in_cluster=True)
    running = await server.start("127.0.0.1", 0, sources, FixedClock())
    query = {"window": "7d", "route": "n/r", "target": "t"}
    try:
        async with aiohttp.ClientSession() as http:

            async def shown(**asked: str) -> str:
                async with http.get(f"http://127.0.0.1:{running.port}/dead-letters", params=asked) as answer:
                    return await answer.text()

            found = re.search(
                r"<pre>kubectl create -f - &lt;&lt;&#x27;END&#x27;\n(.+)\nEND</pre>", await shown(**query), re.DOTALL
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


async def test_only_the_picked_routes_letter_is_sent_again(base: str, get: Get, world: World) -> None:
    """Ids are made by producers, so another route may have the same: the page picks by identity."""
    await world.keep(letter("m-1"), letter("m-2", NOW - 90_000, id="m-1", route="n/other", subject="o"))
    _, page = await get("/dead-letters?window=all&route=n%2Fr")
    assert re.findall(r'name="id" value="([^"]+)"', page) == ["n/r m-1"]
    for picked, found in (("n/r m-1", 1), ("m-1", 2)):
        _, page = await post(base, [("token", await token_of(get)), ("action", "replay"), ("id", picked)])
        assert f"{found} sent again" in page


async def test_a_route_that_is_not_served_is_told_with_the_reason(get: Get, world: World) -> None:
    """And no figure, not even a zero."""
    world.board.views.append(view("n/new", queues=(), rungs=(), rates=None, trouble="not <made> yet"))
    _, page = await get("/")
    assert "not &lt;made&gt; yet" in page
    assert 'data-key="n/new' not in page


@pytest.mark.promise(10)
@pytest.mark.parametrize("path", ["/", "/dead-letters"])
async def test_that_routes_may_be_others_by_now_is_told(get: Get, world: World, path: str) -> None:
    """What is known goes on being shown."""
    world.board.said_trouble = "the API server does not answer"
    _, page = await get(path)
    assert "the API server does not answer" in page
    assert "n/r" in page


async def test_an_open_page_is_made_anew_when_the_api_server_goes_away(base: str, world: World) -> None:
    """Once: after that only the reason changes on it."""
    shapes = []
    for said in (None, "away", "away for another reason"):
        world.board.said_trouble = said
        async with aiohttp.ClientSession() as http, http.get(f"{base}/live") as stream, asyncio.timeout(30):
            told = json.loads((await stream.content.readuntil(b"\n\n")).removeprefix(b"data: "))
            shapes.append(told["shape"])
            assert told["values"].get("trouble") == said
    assert shapes[0] != shapes[1] == shapes[2]


async def test_what_can_not_be_read_is_told_and_not_as_not_found(get: Get, world: World) -> None:
    """A letter may lie on the route that is out of reach."""
    await world.keep(letter("m-1"))
    world.missing = {"n/other": "the table is away"}
    status, page = await get("/dead-letters?window=all")
    assert status == 200
    assert "n/other: the table is away" in page
    assert "m-1" in page
    for path in ("/dead-letters/none", "/messages/none"):
        status, page = await get(path)
        assert (status, "n/other" in page) == (503, True)
    assert (await get("/dead-letters/m-1"))[0] == 200


async def test_what_did_not_come_out_is_in_the_log_too(
    base: str, get: Get, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A replay that failed half-way may have sent something."""
    await world.keep(letter("m-1"))

    async def away(_: object) -> str:
        raise BackendUnavailableError("the queue is away")

    assert world.actions is not None
    world.actions.replay = away  # type: ignore[assignment,method-assign]  # fails when asked
    caplog.set_level("INFO")
    status, _ = await post(base, [("token", await token_of(get)), ("action", "replay"), ("id", "m-1")])
    assert status == 503
    (line,) = [record for record in caplog.records if getattr(record, "ecs", {}).get("event.action") == "replay"]
    assert line.ecs["event.outcome"] == "failure"  # type: ignore[attr-defined]
    assert "the queue is away" in line.getMessage()


async def test_a_backend_that_is_away_is_told(get: Get, world: World) -> None:
    """Not as if there were nothing."""

    async def away(_: str) -> list[object]:
        raise BackendUnavailableError("the table is away")

    world.store.get = away  # type: ignore[assignment,method-assign]  # fails when asked
    status, page = await get("/dead-letters/m-1")
    assert status == 503
    assert "the table is away" in page
