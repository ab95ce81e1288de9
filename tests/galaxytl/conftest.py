from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.galaxies import s3_server
from tests.galaxytl import toy


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Of this file's tests: the URL of an S3 API, which the environment names with its keys."""
    with s3_server() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        yield url


@pytest.fixture(scope="module")
def toy_backbone() -> Iterator[None]:
    """For this file's tests the table of networks has `tests.galaxytl.toy` too."""
    with pytest.MonkeyPatch.context() as patch:
        toy.register(patch)
        gc.freeze()  # `networks.forget` collects garbage: millions of objects of the libraries need no second look
        yield
