"""Arguments for the AWS adapter in tests."""

from botocore.credentials import ReadOnlyCredentials

from chaski_aws.http.credentials import CredentialChain


class FixedCredentials(CredentialChain):
    """Credentials that never change, for emulators that check none."""

    def __init__(self, credentials: ReadOnlyCredentials | None = None) -> None:
        super().__init__()
        self._credentials = credentials or ReadOnlyCredentials("AKIAANY", "any-secret", None)

    async def current(self) -> ReadOnlyCredentials:
        """Returns the credentials."""
        return self._credentials

    async def replace(self, refused: ReadOnlyCredentials) -> ReadOnlyCredentials:
        """Returns the same credentials."""
        assert refused == self._credentials
        return self._credentials
