"""What is the same for all routes of one installation, and the tags by which it knows what is its own. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chaski_core.route.model import Route

MANAGED_BY_TAG = "chaski.dev/managed-by"
OWNER_TAG = "chaski.dev/owner"
ROUTE_TAG = "chaski.dev/route"
QUEUE_TAG = "chaski.dev/queue"
PARTITION_TAG = "chaski.dev/partition"
GENERATION_TAG = "chaski.dev/generation"
MAP_TAG = "chaski.dev/map"
RUNG_TAG = "chaski.dev/rung"
ORDERING_TAG = "chaski.dev/ordering"
MANAGED_BY = "chaski"


@dataclass(frozen=True, slots=True)
class ProvisionSettings:
    """What an installation makes its queues and tables with."""

    owner: str  # names the installation: two that share an account never touch each other's. No default: it would be shared
    tags: Mapping[str, str] = field(default_factory=dict)  # on top, for bills and policies; never taken away
    kms_key_id: str | None = None  # SQS queues; None: SQS's own keys
    point_in_time_recovery: bool = True
    deletion_protection: bool = True


def ownership(route: Route, settings: ProvisionSettings) -> dict[str, str]:
    """The tags without which nothing is touched."""
    return {MANAGED_BY_TAG: MANAGED_BY, OWNER_TAG: settings.owner, ROUTE_TAG: route.key}


def is_ours(tags: Mapping[str, str], route: Route, settings: ProvisionSettings) -> bool:
    """Whether something carries this installation's tags for this route."""
    return all(tags.get(name) == value for name, value in ownership(route, settings).items())


def owner_of(tags: Mapping[str, str], route: Route) -> str | None:
    """The installation that a route's queue or table belongs to; None where it is not this route's, or not Chaski's."""
    if (tags.get(MANAGED_BY_TAG), tags.get(ROUTE_TAG)) != (MANAGED_BY, route.key):
        return None
    return tags.get(OWNER_TAG)


def told_owner(tags: Mapping[str, str]) -> str:
    """Whose something is, in words."""
    if tags.get(MANAGED_BY_TAG) != MANAGED_BY:
        return "it does not carry Chaski's tags"
    return f'it belongs to route "{tags.get(ROUTE_TAG, "")}" of the installation "{tags.get(OWNER_TAG, "")}"'
