"""Connect to a computer, whether or not a daemon runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiida import orm
from aiida.manage import get_manager
from aiida.transports import AsyncTransport, Transport


@contextmanager
def connect(computer: orm.Computer) -> Iterator[Transport]:
    """Open the transport of a computer.

    What `core.ssh_async` does runs in the loop of AiiDA's runner, which asks for the broker; that of the embedded kind
    runs only with the daemon, and nothing here needs one.
    """
    transport, manager = computer.get_transport(), get_manager()
    if not isinstance(transport, AsyncTransport):
        with transport:
            yield transport
        return
    manager.reset_runner()
    manager.set_runner(manager.create_runner(with_persistence=False, communicator=None))
    try:
        with transport:
            yield transport
    finally:
        manager.reset_runner()
