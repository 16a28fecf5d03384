"""Results over temperature, frequency and epochs as CSV, units in the names of the columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiida import orm

from aiida_equitrain.calculations.arrays import arrays_of
from aiida_equitrain.report.curves import with_unit
from aiida_equitrain.report.thermal import qha_columns
from aiida_equitrain.science.conductivity import COMPONENTS
from aiida_equitrain.science.phonon_files import csv_text

#: What phonopy calls the curves of :func:`~aiida_equitrain.science.phonon_metrics.thermal_curves`, with units.
THERMAL = {
    'free_energy': 'free_energy_kj_per_mol_cell',
    'entropy': 'entropy_j_per_k_mol_cell',
    'heat_capacity': 'heat_capacity_j_per_k_mol_cell',
}


def tables_of(outputs: Mapping[str, Any]) -> dict[str, str]:
    """Return CSV text by the name of its file, without suffix and with the folders of the outputs.

    :param outputs: nodes by dotted name.
    """
    makers: dict[str, tuple[str, Callable[[Any], dict[str, Any] | None]]] = {
        'thermal_properties': ('thermal', _thermal_xy),
        'thermal': ('thermal', _thermal),
        'total_dos': ('dos', _total_dos),
        'projected_dos': ('dos_of_atoms', _over('frequencies_thz')),
        'curves': ('qha', _expansion),
        'kappa': ('kappa', _kappa),
        'metrics': ('metrics', _learning),
    }
    found = {}
    for name, node in outputs.items():
        space, _, port = name.rpartition('.')
        # Of a committee the metrics are a namespace of members.
        key, make = makers.get(port) or makers.get(space.rpartition('.')[2]) or ('', _nothing)
        columns = make(node)
        if columns:
            place = f'{space}.{key}' if port in makers else name
            found[place.replace('.', '/').lstrip('/')] = csv_text(columns)
    return found


def thermal_columns(temperatures: Any, curves: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of thermal properties per mole of primitive cells."""
    return {'temperature_k': temperatures, **{THERMAL[key]: curves[key] for key in THERMAL}}


def _thermal_xy(node: Any) -> dict[str, Any] | None:
    if not isinstance(node, orm.XyData):
        return None
    labels = {'Helmholtz free energy': 'free_energy', 'Entropy': 'entropy', 'Cv': 'heat_capacity'}
    curves = {labels[label]: values for label, values, _ in node.get_y() if label in labels}
    return thermal_columns(node.get_x()[1], curves) if set(curves) == set(THERMAL) else None


def _thermal(node: Any) -> dict[str, Any] | None:
    """Return one side, or all sides of a comparison, over temperature."""
    if not isinstance(node, orm.ArrayData):
        return None
    arrays = arrays_of(node)
    key = 'temperatures_k' if 'temperatures_k' in arrays else 'temperatures'
    columns = _columns(arrays, key, {'temperatures': 'temperature_k', 'temperatures_k': 'temperature_k'})
    return columns and {_of_side(name): values for name, values in columns.items()}


def _of_side(name: str) -> str:
    """Return the name of a curve of one side of a comparison as the figures have it: side, quantity, unit."""
    for quantity, unit in THERMAL.items():
        if name.startswith(f'{quantity}_') and not name.endswith(('_cell', '_formula_unit')):
            side = name.removeprefix(f'{quantity}_')
            return f'{"dft" if side == "reference" else side}_{unit}'
    return name


def _learning(node: Any) -> dict[str, Any] | None:
    columns = _over('epoch')(node)
    return columns and {with_unit(name): values for name, values in columns.items()}


def _expansion(node: Any) -> dict[str, Any] | None:
    return qha_columns(arrays_of(node)) if isinstance(node, orm.ArrayData) else None


def _total_dos(node: Any) -> dict[str, Any] | None:
    if not isinstance(node, orm.XyData):
        return None
    return {'frequency_thz': node.get_x()[1], 'total_dos_per_thz': node.get_y()[0][1]}


def _over(key: str) -> Callable[[Any], dict[str, Any] | None]:
    """Return what makes columns of the arrays over ``key``."""

    def columns(node: Any) -> dict[str, Any] | None:
        return _columns(arrays_of(node), key) if isinstance(node, orm.ArrayData) else None

    return columns


def _columns(arrays: Mapping[str, Any], key: str, names: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """Return all arrays over that of ``key``, itself first; those of atoms (n, F) are turned round."""
    if key not in arrays or arrays[key].ndim != 1:
        return None
    axis, found = arrays[key], {(names or {}).get(key, key): arrays[key]}
    for name, values in arrays.items():
        if name == key or values.dtype.kind not in 'fiub':
            continue
        if values.shape[:1] == axis.shape:
            found[name] = values
        elif values.ndim == 2 and values.shape[1] == len(axis):
            found[name] = values.T
    return found


def _nothing(_: Any) -> None:
    return None


def _kappa(node: Any) -> dict[str, Any] | None:
    if not isinstance(node, orm.Dict) or 'temperatures_k' not in node.get_dict():
        return None
    facts = node.get_dict()
    columns = {'temperature_k': facts['temperatures_k'], 'kappa_w_per_m_k': facts['kappa_w_per_m_k']}
    components = (f'kappa_{name}_w_per_m_k' for name in COMPONENTS)
    return columns | {key: facts[key] for key in components if key in facts}
