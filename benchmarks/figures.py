"""The figures as text: tables for docs/performance.md, lines for the terminal. Pure."""

from benchmarks.engine import figures as engine
from benchmarks.markdown import table
from benchmarks.results import Calm, Floor, Results, Skew, Throughput, peer

BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"


def floor_line(floor: Floor) -> str:
    """One floor in a line."""
    return f"{floor.title}: {floor.per_second:,.0f} requests/s"


def throughput_line(each: Throughput) -> str:
    """One throughput in a line."""
    answer = f", answers p50 {each.answer_p50_ms:.1f} p99 {each.answer_p99_ms:.1f} ms" if each.answer_p50_ms else ""
    return f"{each.title}: {each.per_second:,.0f} messages/s, {each.cpu:.2f} CPU-s per 1,000{answer}"


def calm_line(calm: Calm) -> str:
    """The latency at a low rate in a line."""
    return f"at {calm.rate}/s: p50 {calm.through.p50_ms:.1f} ms, p99 {calm.through.p99_ms:.1f} ms"


def skew_line(skew: Skew) -> str:
    """The skew in a line."""
    return f"skew: p99 {skew.alone.p99_ms:.1f} ms alone, {skew.beside.p99_ms:.1f} ms beside the hot subject"


def markdown(results: Results) -> str:
    """All figures."""
    return "\n\n".join(
        [
            f"Measured on {results.at} by the {results.plan} run, in {results.seconds / 60:.1f} minutes.",
            table(("machine", ""), results.machine),
            "### Worker and ingest on the SQS protocol",
            engine.markdown(results.engine),
            "### `chaski dev`: the floor of the same run",
            _floors(results),
            "### `chaski dev`: messages a second",
            _throughputs(results),
            "### `chaski dev`: latency that Chaski adds",
            _calm(results),
            "### `chaski dev`: skew",
            _skew(results),
        ]
    )


def _floors(results: Results) -> str:
    head = ("bare aiohttp, 1 KiB POST answered 202", "requests/s", "CPU-s per 1,000: client", "server")
    rows = [
        (floor.title, f"{floor.per_second:,.0f}", f"{floor.client_cpu:.3f}", f"{floor.server_cpu:.3f}")
        for floor in results.floors
    ]
    return table(head, rows)


def _throughputs(results: Results) -> str:
    head = (
        *("1 KiB, 1,000 subjects", "messages/s", "ratio to floor", "CPU-s per 1,000", "ratio to floor"),
        *("peak RSS, MiB", "answer p50 / p99, ms", "floor"),
    )
    return table(head, [_throughput_row(results, each) for each in results.throughputs])


def _throughput_row(results: Results, each: Throughput) -> tuple[str, ...]:
    name, rate, cpu = peer(results, each)
    answer = "" if each.answer_p50_ms is None else f"{each.answer_p50_ms:.1f} / {each.answer_p99_ms:.1f}"
    return (
        each.title,
        f"{each.per_second:,.0f}",
        f"{each.per_second / rate:.2f}",
        f"{each.cpu:.2f}",
        f"{each.cpu / cpu:.1f}",
        f"{each.peak_rss_mib:.0f}",
        answer,
        name,
    )


def _calm(results: Results) -> str:
    calm = results.calm
    rows = [
        (each.title, f"{each.messages:,}", f"{each.p50_ms:.1f}", f"{each.p99_ms:.1f}")
        for each in (calm.direct, calm.through)
    ]
    rows.append(("added", "", f"**{calm.added_p50_ms:.1f}**", f"**{calm.added_p99_ms:.1f}**"))
    head = (f"{calm.rate} messages/s, from sent to the target's handler", "messages", "p50, ms", "p99, ms")
    return table(head, rows) + f"\n\nCPU at that rate: {calm.cpu:.2f} CPU-seconds per 1,000 messages."


def _skew(results: Results) -> str:
    skew = results.skew
    rows = [
        (each.title, f"{each.messages:,}", f"{each.p50_ms:.1f}", f"{each.p99_ms:.1f}")
        for each in (skew.alone, skew.beside)
    ]
    rows.append(("ratio", "", f"**{skew.ratio_p50:.2f}**", f"**{skew.ratio_p99:.2f}**"))
    total = skew.hot_sent + skew.beside.messages
    shown = table((f"{total:,} messages, {skew.hot_sent:,} of one subject", "messages", "p50, ms", "p99, ms"), rows)
    return (
        f"{shown}\n\nWhen the last of the others was delivered, {skew.hot_delivered:,} of the hot subject's messages were, "
        f"one after the other; the rest still waited in its queue. Peak RSS beside the hot subject: "
        f"{skew.peak_rss_mib:.0f} MiB."
    )


def summary(results: Results) -> list[str]:
    """The lines of the terminal at the end."""
    lines = []
    for each in results.throughputs:
        name, rate, cpu = peer(results, each)
        share, cost = each.per_second / rate, each.cpu / cpu
        lines.append(f"{each.title}: {share:.2f} of the {name}, {cost:.1f} times its CPU")
    calm, skew = results.calm, results.skew
    lines.append(f"added at {calm.rate}/s: p50 {calm.added_p50_ms:.1f} ms, p99 {calm.added_p99_ms:.1f} ms")
    lines.append(f"skew: p50 {skew.ratio_p50:.2f} times, p99 {skew.ratio_p99:.2f} times as long beside the hot subject")
    return [*lines, *engine.summary(results.engine)]
