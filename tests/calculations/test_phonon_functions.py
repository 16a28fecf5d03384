"""Bands with the right cell and names of all points."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.plugins import DataFactory
from ase.spacegroup import crystal
from phonopy.phonon.band_structure import get_band_qpoints_by_seekpath

from aiida_equitrain.calculations.functions.phonons import primitive_bands


@pytest.mark.real
@pytest.mark.parametrize(('b', 'place', 'symprec'), [(6, (0.1, 0.0, 0.2), 1e-4), (4.001, (0.0, 0.0, 0.2), 0.05)])
def test_primitive_bands(aiida_profile: Any, b: float, place: tuple[float, ...], symprec: float) -> None:
    """The cell is that of the q-points, and points that aiida-phonopy calls ``?`` have their names.

    phonopy's path is that of its own tolerance, whatever that of the phonons, with which the second is tetragonal.
    """
    atoms = crystal('Si', [place], spacegroup=71, cellpar=[4, b, 9, 90, 90, 90])
    pre = DataFactory('phonopy.preprocess')(
        structure=orm.StructureData(ase=atoms), supercell_matrix=[1, 1, 1], primitive_matrix='auto', symprec=symprec
    )
    pre.set_displacements(distance=0.01)
    data = DataFactory('phonopy.phonopy')(preprocess_data=pre.store()).store()
    phonon = pre.get_phonopy_instance()
    assert len(phonon.primitive) == len(atoms) // 2
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        segments, names, connected = get_band_qpoints_by_seekpath(phonon.primitive, 5)
    assert r'$\Sigma_0$' in names, 'the crystal has to have a point whose name is not read'

    remaining, labels, points = list(names), [], np.concatenate(segments)
    for number, joined in enumerate(connected):
        labels.append((5 * number, remaining.pop(0)))
        if not joined:
            labels.append((5 * number + 4, remaining.pop(0)))
    readable = [(index, '?' if 'Sigma' in name else name) for index, name in labels]
    bands = orm.BandsData()
    bands.set_cell_from_structure(data.get_unitcell())
    bands.set_kpoints(points)
    bands.set_bands(np.zeros((len(points), 3 * len(phonon.primitive))), units='THz')
    bands.labels = readable

    result = primitive_bands(bands.store(), data)
    assert np.allclose(result.cell, phonon.primitive.cell)
    assert np.allclose(result.get_kpoints(), points)
    assert result.units == 'THz'
    expected = [(index, 'Σ₀' if 'Sigma' in name else name) for index, name in labels]
    assert result.labels == expected
