"""A ChaskiPolicy as values, built only from a valid document (`loading.py`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

#: The label with which the API server marks each namespace with its name.
#: https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name
NAME_LABEL = "kubernetes.io/metadata.name"


class Operator(StrEnum):
    """The relation of a label to the values of an expression."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Expression:
    """One requirement of a selector."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet it; a missing label is `NotIn` any values, as in Kubernetes.

        https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#set-based-requirement
        """
        match self.operator:
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values


@dataclass(frozen=True, slots=True)
class Selector:
    """Selects namespaces by their labels; an empty one selects all."""

    labels: tuple[tuple[str, str], ...] = ()
    expressions: tuple[Expression, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.labels) and all(
            each.matches(labels) for each in self.expressions
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """One ChaskiPolicy. A field that is None restricts nothing; an empty tuple allows nothing."""

    name: str
    selector: Selector = Selector()
    hosts: tuple[str, ...] | None = None  # exact, or `*.suffix`
    cidrs: tuple[str, ...] | None = None
    secret_names: tuple[str, ...] | None = None  # with `*` for any characters
    service_account_names: tuple[str, ...] | None = None  # likewise
    max_partitions: int | None = None  # of all queues of a route together
    max_replicas: int | None = None  # of each queue
    max_rate_per_second: int | None = None  # of each producer
    producers_required: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """A field of a route with which it does not comply with a policy."""

    policy: str
    field: str  # path as a user writes it
    message: str  # the value, and what the policy allows

    def __str__(self) -> str:
        return f'{self.field}: {self.message} (policy "{self.policy}")'
