"""Credentials in files: headers from Secrets, and the token of the workers' ServiceAccount, which the kubelet renews."""

from collections.abc import Callable, Sequence
from pathlib import Path

from chaski_core.message.http_rules import syntax_errors
from chaski_core.route.model import AllowRule, HeaderSecret
from chaski_runtime.process.file_reloader import Contents, ReloadedFiles
from chaski_worker.credentials.source import TOKENS_FOLDER, Credential, unusable
from chaski_worker.delivery.attempt import AttemptContext

_MAX_VALUE_BYTES = 8_192
Make = Callable[[Sequence[str]], Credential]


class FileCredentials:
    """A credential made of files. Reads nothing yet.

    Args:
        rule: whose requests have it.
        files: their paths.
        make: makes the credential of their texts.
        monotonic: seconds.
    """

    def __init__(self, rule: AllowRule, files: Sequence[Path], make: Make, monotonic: Callable[[], float]) -> None:
        self._rule = rule
        self._files = files
        self._make = make
        self._monotonic = monotonic
        self._watched: ReloadedFiles[Credential] | None = None

    async def credential(self, _: AttemptContext) -> Credential:
        return self.current()

    def current(self) -> Credential:
        """The credential; where changed files can't be used, the one before.

        Raises:
            ShortageError: the files could never be used.
        """
        try:
            if self._watched is None:
                self._watched = ReloadedFiles(self._files, self._read, self._monotonic)
            return self._watched.value()
        except (OSError, ValueError) as error:
            raise unusable(self._rule, str(error)) from error

    async def renew(self, rejected: Credential) -> bool:
        """Reads the files now: they may have changed since they were last read."""
        if self._watched is None:
            return False
        self._watched.refresh()
        return self._watched.current != rejected

    async def close(self) -> None:
        """Has nothing under way."""

    def _read(self, contents: Contents) -> Credential:
        return self._make([text_of(file, content) for file, content in zip(self._files, contents, strict=True)])


def text_of(file: Path, content: bytes | None) -> str:
    """The text of a file of a Secret, without the line break at its end.

    Raises:
        ValueError: it is missing, empty, too long, or has a character that can't be in a header: with a line break a second
            header or a second request could be sent. The error does not repeat it.
    """
    if content is None:
        raise ValueError(f"{file} does not exist")
    text = content.decode("latin-1").removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{file} is empty")
    if len(text) > _MAX_VALUE_BYTES:
        raise ValueError(f"{file} has more than {_MAX_VALUE_BYTES} bytes")
    if syntax_errors([("X", text)]) or text != text.strip():
        raise ValueError(
            f"{file} has a character that a header can't have (a line break, a NUL, none of ASCII), or spaces at an end"
        )
    return text


def header_credentials(
    rule: AllowRule, headers: Sequence[HeaderSecret], secrets: Path, monotonic: Callable[[], float]
) -> FileCredentials:
    """Headers from Secrets that are mounted below `secrets`."""
    names = [header.name for header in headers]

    def make(values: Sequence[str]) -> Credential:
        parts = [part for value in values for part in (value, value.rpartition(" ")[2])]
        return Credential(tuple(zip(names, values, strict=True)), tuple(dict.fromkeys(parts)))

    return FileCredentials(rule, [secrets / each.secret_name / each.key for each in headers], make, monotonic)


def bearer(token: str) -> Credential:
    """The credential of a bearer token (RFC 6750 §2.1)."""
    return Credential((("Authorization", f"Bearer {token}"),), (token,))


def token_credentials(rule: AllowRule, secrets: Path, monotonic: Callable[[], float]) -> FileCredentials:
    """The projected token of a rule."""
    file = secrets / TOKENS_FOLDER / rule.name / "token"
    return FileCredentials(rule, [file], lambda texts: bearer(texts[0]), monotonic)
