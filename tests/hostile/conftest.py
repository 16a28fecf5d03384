"""Everything that a command may need is imported once, before the children fork."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

# Before NumPy: a pool of threads does not survive a fork.
for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(_name, '1')
# The cases import `case`, whether pytest finds them or not.
sys.path.insert(0, str(Path(__file__).parent))

HEAVY = (
    'aiida.orm', 'aiida.engine', 'aiida.tools.archive', 'ase.io', 'ase.spacegroup', 'phonopy', 'symfc', 'pymatgen.core',
    'phono3py', 'matplotlib.pyplot', 'pandas', 'rich.live', 'safetensors.numpy', 'yaml',
)  # fmt: skip


@pytest.fixture(scope='session')
def commands(aiida_profile: Any) -> Any:
    """Import all that commands import, and return the profile."""
    import matplotlib as mpl

    mpl.use('agg')
    import aiida_equitrain

    ours = Path(str(aiida_equitrain.__file__)).parent
    for name in HEAVY:
        import_module(name)
    for part in ('cli', 'tools', 'science', 'data', 'query', 'workflows', 'calculations', 'parsers'):
        for file in sorted((ours / part).rglob('*.py')):
            if '__' not in file.stem:
                import_module('.'.join(('aiida_equitrain', *file.relative_to(ours).with_suffix('').parts)))
    return aiida_profile
