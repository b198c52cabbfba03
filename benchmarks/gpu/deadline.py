"""A test run that is stopped between two tests still reports the first ones: ``pytest -p gpu.deadline``."""

from __future__ import annotations

import os
import time

import pytest

from gpu.suite import SECONDS

START = time.monotonic()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    if time.monotonic() - START > float(os.environ[SECONDS]):
        item.session.shouldstop = f"the {os.environ[SECONDS]} s for the suite are over"
