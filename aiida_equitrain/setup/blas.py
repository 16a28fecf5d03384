"""The kernels of OpenBLAS in a program: those of a Pentium 4 where the library is older than the processor."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

#: By what OpenBLAS is told which kernels to take; it stands in the text that a code prepends.
VARIABLE = 'OPENBLAS_CORETYPE'
#: What it takes for a processor that it does not know (0.3.21 of Debian 12: Emerald Rapids and later ones), and kernels
#: for all processors with AVX2: matrix products 2.5 times faster, pw.x 1.5 times. Its young ones for AVX-512 are left.
UNKNOWN, SAFE = 'Prescott', 'Haswell'
NEEDED = 'avx2'
PATIENCE_S = 60


def faster_kernels(program: str, cpuinfo: Path = Path('/proc/cpuinfo')) -> str | None:
    """Return the kernels of OpenBLAS that a program on this machine should be told to take, if it does not by itself.

    ``None`` where all is well: another BLAS, a processor that OpenBLAS knows, or one that is as old as these kernels.

    :param program: path of a program that ends by itself without input; it is started.
    """
    if os.environ.get(VARIABLE) or not cpuinfo.exists() or NEEDED not in cpuinfo.read_text().split():
        return None
    return SAFE if kernels_of(program) == UNKNOWN else None


def kernels_of(program: str) -> str | None:
    """Return the name of the kernels that OpenBLAS takes in a program, or ``None`` where it has no OpenBLAS."""
    root = {'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1'}
    environment = {**os.environ, **root, 'OPENBLAS_VERBOSE': '2'}
    # What the program leaves behind (OpenMPI's `orted`) would keep a pipe open.
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / 'output').open('w+b') as output:
        try:
            subprocess.run([program], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder,
                           env=environment, timeout=PATIENCE_S, check=False)  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        output.seek(0)
        lines = output.read().decode(errors='replace').splitlines()
    return next((line.split()[1] for line in lines if line.startswith('Core: ')), None)
