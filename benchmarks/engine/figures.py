"""The figures of worker and ingest as text. Pure."""

from benchmarks.engine.results import TITLES, Consumed, Engine, Ingested, Load, verdicts
from benchmarks.markdown import table


def consumed_line(each: Consumed) -> str:
    """One consumer in a line."""
    hot = f", {each.hot_ms:.2f} ms per message of the hot subject" if each.hot_ms else ""
    return (
        f"{TITLES[each.kind]}: {each.per_second:,.0f} messages/s, {each.cpu:.3f} CPU-s per 1,000, "
        f"{each.calls:.2f} SQS calls a message{hot}"
    )


def ingested_line(each: Ingested) -> str:
    """One server in a line."""
    return f"{each.title}: {each.per_second:,.0f} requests/s, {each.cpu:.3f} CPU-s per 1,000, p99 {each.p99_ms:.1f} ms"


def markdown(engine: Engine) -> str:
    """All figures."""
    rows = [
        (verdict.what, verdict.target, verdict.measured, "yes" if verdict.met else "**no**")
        for verdict in verdicts(engine)
    ]
    return "\n\n".join(
        [
            table(("target", "wanted", "measured", "met"), rows),
            _consumers(engine),
            _ingests(engine),
        ]
    )


def _consumers(engine: Engine) -> str:
    head = (
        *("1 KiB messages", "consumer", "messages/s", "CPU-s per 1,000", "SQS calls a message"),
        *("put to target p50 / p99, ms", "hot subject, ms per message", "peak RSS, MiB"),
        *("missing", "repeated", "out of order"),
    )
    rows = [_consumer_row(load, each) for load in engine.loads for kind in TITLES for each in engine.of(kind, load.key)]
    return table(head, rows)


def _consumer_row(load: Load, each: Consumed) -> tuple[str, ...]:
    return (
        f"{load.title}, {load.subjects:,} subjects",
        TITLES[each.kind],
        f"{each.per_second:,.0f}",
        f"{each.cpu:.3f}",
        f"{each.calls:.2f}",
        f"{each.p50_ms:,.1f} / {each.p99_ms:,.1f}",
        f"{each.hot_ms:.2f}" if each.hot_ms else "",
        f"{each.peak_rss_mib:.0f}",
        *(f"{number:,}" for number in (each.missing, each.repeated, each.out_of_order)),
    )


def _ingests(engine: Engine) -> str:
    head = (
        *("1 KiB requests", "requests/s", "CPU-s per 1,000", "requests/s per core", "messages a call"),
        *("answer p50 / p99, ms", "fastest, ms", "missing"),
    )
    rows = [
        (
            each.title,
            f"{each.per_second:,.0f}",
            f"{each.cpu:.3f}",
            f"{each.per_core:,.0f}",
            f"{each.entries:.1f}" if each.entries else "",
            f"{each.p50_ms:.1f} / {each.p99_ms:.1f}",
            f"{each.fastest_ms:.1f}",
            f"{each.missing}",
        )
        for each in (*engine.ingested, engine.half)
    ]
    return table(head, rows)


def summary(engine: Engine) -> list[str]:
    """The lines of the terminal at the end."""
    return [
        f"[{'green]✓' if verdict.met else 'red]✗'}[/] {verdict.what}: {verdict.measured} (wanted {verdict.target})"
        for verdict in verdicts(engine)
    ]
