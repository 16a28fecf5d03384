"""Make an AiiDA profile on the embedded back ends: SQLite storage, ZeroMQ broker, caching on."""

from __future__ import annotations

import sys
from typing import Any

#: The broker that needs no service of its own; without a broker there is no daemon.
BROKER = 'core.zeromq'


def ensure_profile(name: str = 'equitrain') -> bool:
    """Create the profile in the configuration that ``AIIDA_PATH`` names, when it is absent.

    It becomes the default only where there is no other default.

    :returns: whether it was created.
    """
    from aiida.manage.configuration import create_profile, get_config
    from aiida.plugins import BrokerFactory

    config: Any = get_config(create=True)
    if name in config.profile_names:
        return False
    create_profile(
        config,
        name=name,
        email='equitrain@localhost',
        storage_backend='core.sqlite_dos',
        storage_config={},
        broker_backend=BROKER,
        broker_config=BrokerFactory(BROKER).get_default_config(),
    )
    config.set_option('runner.poll.interval', 1, scope=name)
    config.set_option('caching.default_enabled', True, scope=name)
    config.set_default_profile(name)
    config.store()
    return True


if __name__ == '__main__':
    PROFILE = sys.argv[1] if len(sys.argv) > 1 else 'equitrain'
    print(f'AiiDA profile `{PROFILE}`', 'created' if ensure_profile(PROFILE) else 'found')
