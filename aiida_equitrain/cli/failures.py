"""What went wrong on a machine, in a sentence with the remedy, where nothing nearer to the cause has one."""

from __future__ import annotations

import errno
import os

#: Set it, and the traceback of any failure is shown.
TRACEBACK = 'EQUITRAIN_TRACEBACK'
#: Characters of a message of others that are shown.
LONGEST = 200
_LARGEST = 2**63 - 1
_DATABASE = 'the database of the profile cannot be used'
#: What a message of a database says, and what to do about it.
_DATABASE_REMEDIES = {
    'locked': f'{_DATABASE}, as another process keeps it locked: wait for it, or end it, and call again',
    'readonly': f'{_DATABASE}: you may not write it, or its disk is mounted read-only',
    'disk is full': f'{_DATABASE}: its disk is full; free some space and call again',
    'out of range': f'a number is too large: whole numbers go up to {_LARGEST}',
}
_NO_ANSWER = (
    'nothing answers at the broker of the profile, at its database or on another computer: `verdi status` says which; '
    'the daemon starts what it needs (`verdi daemon start`)'
)
#: By the name of an exception's class, or of one that it derives from; nothing has to be imported for it.
_SENTENCES = {
    'aiida.common.exceptions.StorageMigrationError': f'{_DATABASE} as its version is another: `verdi storage migrate`',
    'aiida.common.exceptions.IncompatibleStorageSchema': (
        f'{_DATABASE}, as it is of another AiiDA, or no database at all: `verdi storage migrate` mends the first'
    ),
    'aiida.common.exceptions.CorruptStorage': (
        f'{_DATABASE}, as it is damaged: `verdi storage info` and `verdi status` say more; restore a backup'
    ),
    'aiida.common.exceptions.UnreachableStorage': f'{_DATABASE}, as nothing answers there: `verdi status` says more',
    'aiida.common.exceptions.LockedProfileError': (
        'the profile is locked, as maintenance of its storage goes on: wait for it and call again'
    ),
    'aiida.common.exceptions.LockingProfileError': (
        'the profile cannot be locked, as others use it: stop the daemon (`verdi daemon stop`) and call again'
    ),
    'aiida.common.exceptions.ConfigurationError': (
        'the configuration of AiiDA cannot be used: `verdi status` and `verdi profile list` say more'
    ),
    'aiida.common.exceptions.MultipleObjectsError': (
        'several nodes fit a label or the beginning of a UUID: name the one that you mean by its PK or whole UUID'
    ),
    'sqlalchemy.exc.DBAPIError': f'{_DATABASE}, as it is damaged or its server is off: `verdi status` says more',
    'sqlite3.Error': f'{_DATABASE}, as it is damaged: `verdi status` says more',
    'builtins.MemoryError': 'there is not enough memory for this',
    'builtins.RecursionError': 'the input nests deeper than any honest one',
    'builtins.OverflowError': f'a number is too large: whole numbers go up to {_LARGEST}',
}  # fmt: skip


def sentence(failure: BaseException) -> str:
    """Return what went wrong in a sentence."""
    names = [f'{kind.__module__}.{kind.__name__}' for kind in type(failure).__mro__]
    if isinstance(failure, ConnectionError | TimeoutError) or names[0].startswith(('kiwipy.', 'aiormq.', 'aio_pika.')):
        return _NO_ANSWER
    if isinstance(failure, OSError) and failure.errno is not None:
        return _of_system(failure)
    if any(name.startswith(('sqlalchemy.', 'sqlite3.')) for name in names):
        for word, text in _DATABASE_REMEDIES.items():
            if word in str(failure):
                return text
    for name in names:
        if name in _SENTENCES:
            return _SENTENCES[name]
    lines = str(failure).strip().splitlines()
    said = f': {lines[0][:LONGEST]}' if lines else ''
    return (
        f'something happened that nobody thought of ({type(failure).__name__}{said}). With `{TRACEBACK}=1` before the '
        'command it shows where; please report that'
    )


def _of_system(failure: OSError) -> str:
    """Return what the operating system refused."""
    path = failure.filename if isinstance(failure.filename, str | bytes | os.PathLike) else None
    what = 'a file' if path is None else f'`{os.fsdecode(path)[-LONGEST:]}`'
    reasons = {
        errno.ENOSPC: 'the disk is full: free some space and call again',
        errno.EDQUOT: 'your share of the disk is used up: free some space and call again',
        errno.EROFS: 'the disk is mounted read-only: give another place',
        errno.EACCES: 'permission is denied: give another place, or change its permissions',
        errno.ENOENT: 'there is no such file or folder',
        errno.ENOTDIR: 'a part of the path is a file, not a folder',
        errno.EISDIR: 'it is a folder, not a file',
        errno.EEXIST: 'it exists and is no folder, or may not be overwritten',
    }
    reasons[errno.EPERM] = reasons[errno.EACCES]
    reason = reasons.get(failure.errno or 0, os.strerror(failure.errno or 0).lower())
    return f'{what} cannot be read or written: {reason}'
