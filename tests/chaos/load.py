"""Makes the steps of the plan at their times, and records the life of each route."""

import asyncio
from collections.abc import Sequence

from campaign.machine import now
from chaos.evidence import FINALIZER, Life
from chaos.plan import Key, Step, blocked_keys, document, keys_of, simple_spec, steps_of
from chaos.world import World, route_path

_POLL_SECONDS = 0.4


class Load:
    """The routes of one run."""

    def __init__(self, world: World, seed: int, seconds: float, routes: int) -> None:
        self.lives: list[Life] = []
        self.steps = 0  # that were made
        self.stopping = asyncio.Event()
        self._world = world
        self._plans = {key: steps_of(seed, key, seconds) for key in keys_of(routes)}
        stays, deleted = blocked_keys()
        self._plans |= {
            stays: [Step(0.0, simple_spec())],
            deleted: [Step(0.0, simple_spec()), Step(seconds * 0.6, None)],
        }

    async def run(self) -> None:
        """Makes all steps; ends early when `stopping` is set."""
        began = now()
        async with asyncio.TaskGroup() as group:
            for key, steps in self._plans.items():
                group.create_task(self._route(key, steps, began))

    def last(self) -> dict[Key, Life]:
        """The last life of each name."""
        return {life.key: life for life in self.lives}

    async def follow_deleted(self) -> None:
        """Records which deleted routes are gone."""
        for life in self.last().values():
            if life.delete_sent is not None and life.gone is None:
                await self._is_gone(life)

    async def _route(self, key: Key, steps: Sequence[Step], began: float) -> None:
        life: Life | None = None
        for step in steps:
            while now() < began + step.at and not self.stopping.is_set():
                await self._pause(life)
            while life is not None and life.delete_sent is not None and life.gone is None:
                if self.stopping.is_set():
                    return
                await self._pause(life)
            if self.stopping.is_set():
                return
            self.steps += 1
            life = await self._make(key, step, life)

    async def _make(self, key: Key, step: Step, life: Life | None) -> Life:
        if step.spec is None:
            assert life is not None
            await self._delete(life)
            return life
        if life is None or life.gone is not None:
            life = Life(key)
            life.versions.append((now(), step.spec))
            self.lives.append(life)
        else:
            life.versions.append((now(), step.spec))
        life.uid = (await self._world.admin.apply(route_path(key), document(key, step.spec)))["metadata"]["uid"]
        return life

    async def _delete(self, life: Life) -> None:
        found = await self._world.admin.route(life.key)
        life.finalized = FINALIZER in ((found or {"metadata": {}})["metadata"].get("finalizers") or ())
        life.delete_sent = now()
        await self._world.admin.delete(route_path(life.key))

    async def _pause(self, life: Life | None) -> None:
        """A moment, in which it is recorded whether the deleted route is gone."""
        if life is not None and life.delete_sent is not None and life.gone is None:
            await self._is_gone(life)
        await asyncio.sleep(_POLL_SECONDS)

    async def _is_gone(self, life: Life) -> None:
        found = await self._world.admin.route(life.key)
        if found is None or found["metadata"]["uid"] != life.uid:
            life.gone = now()
