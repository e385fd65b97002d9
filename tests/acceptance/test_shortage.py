"""A process without free descriptors counts no attempt for that: real processes with low limits."""

import asyncio
import resource
import shutil
import ssl
import subprocess
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from support.metric_pages import value
from support.processes.dev import (
    DevServer,
    dead_letters,
    recording_target,
    route,
    send_batch,
    settled_total,
    wait_until,
)

pytestmark = pytest.mark.landing

BOTH = pytest.mark.parametrize("ordering", ["Relaxed", "Strict"])


def limited(soft: int, hard: int) -> tuple[str, ...]:
    """The prefix of a command that sets these limits on open files."""
    return ("/bin/sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "limited")


def one_retry_queue(concurrency: int) -> dict[str, object]:
    """Every failure has two retries, the same for all classes."""
    return {
        "delivery": {"timeoutSeconds": 30, "concurrencyPerPod": concurrency},
        "retry": {
            "rungs": [{"name": "fast", "delaySeconds": 1}],
            "ladders": [{"class": "any", "retriesPerRung": 2, "rungs": ["fast"]}],
        },
    }


@BOTH
@pytest.mark.promise(4)
async def test_messages_wait_for_descriptors_without_an_attempt(tmp_path: Path, ordering: str) -> None:
    """64 descriptors, 128 attempts wanted at once, 150 subjects: each message arrives once, as attempt 1."""
    async with recording_target(lambda *_: (1.0, 200)) as target, aiohttp.ClientSession() as http:
        document = route("r", target.url, ordering=ordering, **one_retry_queue(128))
        server = DevServer(tmp_path, document, through=limited(64, 64))
        await server.start()
        try:
            lines = [{"id": f"m{n}", "subject": f"s{n}", "body": {"url": target.url}} for n in range(150)]
            assert {each["status"] for each in await send_batch(http, server.url, "t/r", lines)} == {202}
            async with asyncio.timeout(90):
                while await settled_total(http, server.metrics_url) < 150:
                    await asyncio.sleep(0.5)
            async with http.get(server.metrics_url) as answer:
                page = await answer.text()
            kept = await dead_letters(server.data)
            assert await server.stop() == 0
        finally:
            await server.end()

    assert Counter(seen.attempt for seen in target.seen) == {1: 150}
    assert kept == []
    assert value(page, "chaski_shortages_total", reason="descriptors") > 0
    log = server.log.read_text()
    assert log.count("no descriptor") == 1, "one line for the whole of it"
    assert "concurrencyPerPod" in log, "the warning at startup names the field"


def self_signed(folder: Path) -> Path:
    """A folder with a certificate for 127.0.0.1 and its key, as Kubernetes names them."""
    folder.mkdir()
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@BOTH
@pytest.mark.promise(9)
async def test_a_rule_without_its_certificate_does_not_block_another(tmp_path: Path, ordering: str) -> None:
    """The process starts; once the certificate exists, all waiting messages are delivered, as attempt 1."""
    pair = self_signed(tmp_path / "pair")
    secrets = tmp_path / "secrets"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair / "tls.crt", pair / "tls.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(pair / "tls.crt")
    async with (
        recording_target(lambda *_: (0.0, 200), tls=context) as strict,
        recording_target(lambda *_: (0.0, 200)) as plain,
        aiohttp.ClientSession() as http,
    ):
        shown = {"caBundle": (pair / "tls.crt").read_text(), "clientCertSecretName": "pair"}
        allow = [{"name": "strict", "url": strict.url, **shown}, {"name": "plain", "url": plain.url}]
        document = route("r", plain.url, ordering=ordering, targets={"allow": allow}, **one_retry_queue(4))
        server = DevServer(tmp_path, document, options=("--secrets", secrets))
        await server.start()
        try:
            lines = [
                {"id": f"{name}-{subject}-{n}", "subject": f"{name}{subject}", "body": {"url": target.url + str(n)}}
                for name, target in (("strict", strict), ("plain", plain))
                for subject in range(20)
                for n in range(3)
            ]
            await send_batch(http, server.url, "t/r", lines)
            await wait_until(lambda: len(plain.seen) == 60, within=60)
            async with http.get(server.metrics_url) as answer:
                page = await answer.text()
            assert strict.seen == []
            assert value(page, "chaski_shortage", reason="certificate", target="strict") == 1
            shutil.copytree(pair, secrets / "pair")
            await wait_until(lambda: len(strict.seen) == 60, within=60)
            assert await dead_letters(server.data) == []
            assert await server.stop() == 0
        finally:
            await server.end()

    for target in (strict, plain):
        assert {seen.attempt for seen in target.seen} == {1}
        assert len(target.seen) == 60
        paths = Counter(seen.path for seen in target.seen)
        assert paths == {"/0": 20, "/1": 20, "/2": 20}
    assert server.log.read_text().count('"event.action":"shortage"') == 1


@pytest.mark.slow
async def test_the_soft_limit_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    """The usual soft limit of 1,024 does not limit 1,024 attempts at once, where the hard one allows more."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 8_192:
        pytest.skip("the hard limit of this machine is too low")
    async with recording_target(lambda *_: (3.0, 200)) as target, aiohttp.ClientSession() as http:
        document = route("r", target.url, **one_retry_queue(1024))
        server = DevServer(tmp_path, document, through=limited(1_024, 8_192))
        await server.start()
        try:
            lines = [{"id": f"m{n}", "subject": f"s{n}", "body": {"url": target.url}} for n in range(1_500)]
            for start in range(0, 1_500, 500):
                await send_batch(http, server.url, "t/r", lines[start : start + 500])
            await wait_until(lambda: len(target.seen) >= 1_500, within=120)
            assert await dead_letters(server.data) == []
            async with http.get(server.metrics_url) as answer:
                page = await answer.text()
            assert await server.stop() == 0
        finally:
            await server.end()

    assert Counter(seen.attempt for seen in target.seen) == {1: 1_500}
    assert value(page, "chaski_shortages_total") == 0
