"""Fixtures for tests of the chart."""

from pathlib import Path

import pytest

from support.kube.api_server import KubeApi
from support.kube.charts import write_schemas


@pytest.fixture(scope="session")
def schemas(kube: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the schemas of all resources of the API server, including ChaskiRoutes."""
    folder = tmp_path_factory.mktemp("schemas")
    write_schemas(kube, folder)
    return folder
