"""What tests of the AWS adapter hand to it."""

from botocore.credentials import ReadOnlyCredentials


class FixedCredentials:
    """Credentials that never change, for stand-ins that ask for none."""

    def __init__(self, credentials: ReadOnlyCredentials | None = None) -> None:
        self._credentials = credentials or ReadOnlyCredentials("AKIAANY", "any-secret", None)

    async def current(self) -> ReadOnlyCredentials:
        """The credentials."""
        return self._credentials

    async def replace(self, refused: ReadOnlyCredentials) -> ReadOnlyCredentials:
        """There are no others."""
        assert refused == self._credentials
        return self._credentials
