"""Make AiiDA's own nodes of bands, densities of states and thermal properties."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode
from numpy.typing import NDArray

from aiida_equitrain.calculations.script_job import Output
from aiida_equitrain.parsers.script_job import ScriptParser, read_arrays

#: Curves over temperature in the order, with the names and units, that aiida-phonopy gives them.
THERMAL = (
    ('Helmholtz free energy', 'free_energy_kj_per_mol', 'kJ/mol'),
    ('Entropy', 'entropy_j_per_k_mol', 'J/K/mol'),
    ('Cv', 'heat_capacity_j_per_k_mol', 'J/K/mol'),
)


class HarmonicParser(ScriptParser):
    """Parse the output of a ``HarmonicCalculation``, or of a ``CompareCalculation``, which may have the same ones."""

    def attach_output(self, name: str, output: Output, folder: Path) -> ExitCode | None:
        """Attach an output, some of them as those of aiida-phonopy are."""
        makers = {'bands': bands, 'total_dos': density, 'thermal_properties': thermal}
        make = makers.get(name.rpartition('.')[2]) if output.node is not None else None
        if make is None:
            return super().attach_output(name, output, folder)
        return self.attach_file(folder / output.file, lambda path: self.out(name, make(read_arrays(path))))


def bands(arrays: dict[str, NDArray[Any]]) -> orm.BandsData:
    """Return bands in the basis of the primitive cell; a segment ends where two points with names follow another."""
    node = orm.BandsData()
    node.set_cell(arrays['cell'])
    node.set_kpoints(arrays['qpoints'])
    node.set_bands(arrays['frequencies_thz'], units='THz')
    starts = arrays['segment_starts'].tolist()
    ends = [*starts[1:], len(arrays['qpoints'])]
    labels: list[tuple[int, str]] = []
    for start, end, names in zip(starts, ends, arrays['labels'].tolist(), strict=True):
        for index, name in zip((start, end - 1), names, strict=True):
            # The end of a segment that goes on is named once.
            if not labels or labels[-1][1] != name:
                labels.append((index, name))
    node.labels = [(index, r'$\Gamma$' if name == 'Γ' else name) for index, name in labels]
    return node


def density(arrays: dict[str, NDArray[Any]]) -> orm.XyData:
    """Return the density of states."""
    node = orm.XyData()
    node.set_x(arrays['frequencies_thz'], 'Frequency', 'THz')
    node.set_y(arrays['total_dos_per_thz'], 'DOS', '1/THz')
    return node


def thermal(arrays: dict[str, NDArray[Any]]) -> orm.XyData:
    """Return the curves over temperature."""
    node = orm.XyData()
    node.set_x(arrays['temperatures_k'], 'Temperature', 'K')
    names, keys, units = (list(values) for values in zip(*THERMAL, strict=True))
    node.set_y([np.array(arrays[key]) for key in keys], names, units)
    return node
