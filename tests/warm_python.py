"""A Python whose heavy imports are done: a program that jobs run in place of Python, and the server that it asks.

Importing torch, MACE and Equitrain takes five seconds of a core, longer than most jobs of the tests compute. The server
has imported them, and forks for each ``-m MODULE`` that it is asked to run, in the folder, with the environment and
the streams of the one who asks; any other arguments run Python itself. As a program it is
``python -IS warm_python.py SOCKET ARGUMENTS``, and the server ``python warm_python.py --serve SOCKET``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path

PRELOADED = ('mace.calculators', 'mace.cli.run_train', 'equitrain', 'ase.optimize', 'ase.filters', 'phonopy', 'symfc',
             'seekpath', 'spglib')  # fmt: skip
STATUS = struct.Struct('i')


def ask(path: str, arguments: list[str]) -> int:
    """Let the server run a module; return how it ended."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        request = json.dumps([str(Path.cwd()), dict(os.environ), arguments[1:]]).encode()
        socket.send_fds(server, [STATUS.pack(len(request))], [0, 1, 2])
        server.sendall(request)
        child = STATUS.unpack(server.recv(STATUS.size))[0]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, lambda number, _: os.kill(child, number))
        answer = server.recv(STATUS.size)
        status = STATUS.unpack(answer)[0] if answer else 1
        if os.WIFSIGNALED(status):
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
            os.kill(os.getpid(), os.WTERMSIG(status))
        return os.waitstatus_to_exitcode(status)


def serve(path: str) -> None:
    """Import, then fork for every request, until the standard input ends."""
    import importlib
    import select

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print('listening', flush=True)
        os.dup2(2, 1)
        for name in PRELOADED:
            importlib.import_module(name)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if 0 in ready:
                return
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(client)
            client.close()


def answer(client: socket.socket) -> None:
    """Fork once more, so that the child dies with the one who asked; tell that one how it ended."""
    import select

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(client, STATUS.size, 3)
    request = b''
    while len(request) < STATUS.unpack(size)[0]:
        request += client.recv(1 << 20)
    folder, environment, arguments = json.loads(request)
    child = os.fork()
    if child == 0:
        client.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        run_module(folder, environment, arguments)
    for stream in streams:
        os.close(stream)
    client.sendall(STATUS.pack(child))
    descriptor = os.pidfd_open(child)
    ready, _, _ = select.select([client, descriptor], [], [])
    if descriptor not in ready:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if descriptor in ready:
        client.sendall(STATUS.pack(status))
    os._exit(0)


def run_module(folder: str, environment: dict[str, str], arguments: list[str]) -> None:
    """Do what ``python -m`` does, and end this process."""
    import runpy
    import threading
    import traceback
    import warnings

    status = 1
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv, sys.path[0] = arguments, folder
        warnings.resetwarnings()
        runpy.run_module(arguments[0], run_name='__main__', alter_sys=True)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == '__main__':
    if sys.argv[1] == '--serve':
        serve(sys.argv[2])
    elif sys.argv[2:3] == ['-m']:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    else:
        os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
