"""Put a driver script, and the pure modules that it needs, into the folder of a job.

The compute machine has no aiida-equitrain. A driver is therefore copied beside the inputs, and the modules of
``common`` and ``science`` that it uses are copied into the package ``equitrain_job``, relative imports intact.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from importlib.resources import files

from aiida.common.folders import Folder

from aiida_equitrain.common.names import JOB_PACKAGE


def stage_driver(folder: Folder, driver: str, modules: Iterable[str] = (), helpers: Iterable[str] = ()) -> None:
    """Write ``drivers/<driver>`` as ``<driver>`` into ``folder``, and what it imports.

    :param driver: file name of the driver, such as ``forces.py``.
    :param modules: dotted names below ``aiida_equitrain`` such as ``science.frames``; the driver imports them as
        ``equitrain_job.science.frames``.
    :param helpers: further files of ``drivers/`` that the driver imports from beside itself.
    """
    package = files('aiida_equitrain')
    for name in (driver, *helpers):
        _write(folder, name, package.joinpath('drivers', name).read_text(encoding='utf-8'))
    layers = set()
    for module in modules:
        layer, name = module.split('.')
        layers.add(layer)
        source = package.joinpath(layer, f'{name}.py').read_text(encoding='utf-8')
        _write(folder, f'{JOB_PACKAGE}/{layer}/{name}.py', source)
    for package_folder in sorted({JOB_PACKAGE} | {f'{JOB_PACKAGE}/{layer}' for layer in layers}):
        if layers:
            _write(folder, f'{package_folder}/__init__.py', '')


def digest(driver: str, modules: Iterable[str] = (), helpers: Iterable[str] = ()) -> int:
    """Return a number that changes with the source of a driver and of what it imports (first 12 digits of SHA-256)."""
    package, total = files('aiida_equitrain'), sha256()
    for path in (*(f'drivers/{name}' for name in (driver, *helpers)), *(f'{m.replace(".", "/")}.py' for m in modules)):
        total.update(package.joinpath(path).read_bytes())
    return int(total.hexdigest()[:12], 16)


def _write(folder: Folder, path: str, text: str) -> None:
    parent, _, name = path.rpartition('/')
    target = folder.get_subfolder(parent, create=True) if parent else folder
    with target.open(name, 'w', encoding='utf-8') as handle:
        handle.write(text)
