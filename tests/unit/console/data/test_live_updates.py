from chaski_console.data.live_updates import LiveUpdates
from unit.console.fakes import FakeRouteStatus


async def test_backlogs_of_existing_routes_are_kept() -> None:
    """For the charts; those of deleted routes are dropped."""
    status = FakeRouteStatus()
    live = LiveUpdates(status)
    await live.read_now()
    assert (await live.read_now()).backlogs == {"n/r": (10, 10)}
    status.views = []
    assert (await live.read_now()).backlogs == {}
