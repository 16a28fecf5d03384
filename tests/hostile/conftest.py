"""The process that commands are forked from, and a profile that holds nothing of other tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The cases import `case`, whether pytest finds them or not.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope='module')
def commands(
    tmp_path_factory: pytest.TempPathFactory, aiida_config_factory: Any, aiida_profile: Any, aiida_profile_factory: Any
) -> Iterator[Any]:
    """Load a profile of these tests' own, and return a server of forks that has read its configuration."""
    from harness import start

    with aiida_config_factory(tmp_path_factory.mktemp('hostile')) as config, aiida_profile_factory(config) as profile:
        # Of a new configuration, it is the profile of before.
        config.set_default_profile(profile.name, overwrite=True).store()
        with start() as process:
            yield process


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Do not look for these tests, which are all marked `real`, where those are left out: cases are made with them."""
    return True if config.getoption('markexpr') == 'not real' else None
