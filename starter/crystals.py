"""The crystals that the starter potential learns, and those held out from it (ASE only).

Lattice parameters are starting values: every crystal is relaxed with the teacher before frames are drawn from it.
"""

from __future__ import annotations

from collections import defaultdict

from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

ROCKSALT = {
    'NaCl': 5.64, 'KCl': 6.29, 'MgO': 4.21, 'PbTe': 6.46, 'SnTe': 6.33, 'GeTe': 6.00, 'CaTe': 6.35, 'BaTe': 7.00,
    'SnSe': 6.00, 'BaSe': 6.60, 'PbSe': 6.12, 'CaO': 4.81, 'MgSe': 5.46,
}  # fmt: skip
ZINCBLENDE = {'SiC': 4.36, 'GaAs': 5.65, 'AlN': 4.38, 'MgTe': 6.42, 'AlAs': 5.66}
WURTZITE = {'AlN': (3.11, 4.98), 'SiC': (3.08, 5.05), 'GaN': (3.19, 5.19)}
DIAMOND = {'Si': 5.43, 'Ge': 5.66, 'C': 3.57}
FCC = {'Al': 4.05, 'Pb': 4.95, 'Ca': 5.58}
BCC = {'Na': 4.29, 'K': 5.33, 'Ba': 5.03}
HCP = {'Mg': (3.21, 5.21)}


def _trigonal_chain(symbol: str, a: float, c: float, u: float) -> Atoms:
    return crystal([symbol], [(u, 0, 1 / 3)], spacegroup=152, cellpar=[a, a, c, 90, 90, 120])


def _a7(symbols: list[str], a: float, alpha: float, x: float) -> Atoms:
    """Rhombohedral distortion of rocksalt (GeTe) or simple cubic (As): two atoms along [111].

    The threefold axis lies along z and a hexagonal one along x, as elastic constants of such crystals are given.
    """
    cell = Atoms(
        symbols,
        cell=[a, a, a, alpha, alpha, alpha],
        scaled_positions=[(0, 0, 0), (x, x, x)],
        pbc=True,
    )
    first, second, third = cell.cell
    cell.rotate(first + second + third, 'z', rotate_cell=True)
    cell.rotate(cell.cell[0] - cell.cell[1], 'x', rotate_cell=True)
    return cell


def training_crystals() -> dict[str, Atoms]:
    """Name -> primitive or conventional cell of every crystal whose frames are trained on."""
    cells = {f'rs-{name}': bulk(name, 'rocksalt', a=a) for name, a in ROCKSALT.items()}
    cells |= {f'zb-{name}': bulk(name, 'zincblende', a=a) for name, a in ZINCBLENDE.items()}
    cells |= {f'wz-{name}': bulk(name, 'wurtzite', a=a, c=c) for name, (a, c) in WURTZITE.items()}
    cells |= {f'dia-{name}': bulk(name, 'diamond', a=a) for name, a in DIAMOND.items()}
    cells |= {f'fcc-{name}': bulk(name, 'fcc', a=a) for name, a in FCC.items()}
    cells |= {f'bcc-{name}': bulk(name, 'bcc', a=a) for name, a in BCC.items()}
    cells |= {f'hcp-{name}': bulk(name, 'hcp', a=a, c=c) for name, (a, c) in HCP.items()}
    cells['pnma-SnSe'] = crystal(
        ['Sn', 'Se'],
        [(0.119, 0.25, 0.103), (0.856, 0.25, 0.479)],
        spacegroup=62,
        cellpar=[11.5, 4.15, 4.44, 90, 90, 90],
    )
    cells['r3m-GeTe'] = _a7(['Ge', 'Te'], 4.31, 57.9, 0.475)
    cells['r3m-SnTe'] = _a7(['Sn', 'Te'], 4.48, 59.5, 0.485)
    cells['a7-As'] = _a7(['As', 'As'], 4.13, 54.1, 0.454)
    cells['tri-Te'] = _trigonal_chain('Te', 4.46, 5.92, 0.263)
    cells['tri-Se'] = _trigonal_chain('Se', 4.37, 4.95, 0.225)
    cells['bct-Sn'] = crystal(['Sn'], [(0, 0, 0)], spacegroup=141, cellpar=[5.83, 5.83, 3.18, 90, 90, 90])
    cells['cscl-KCl'] = bulk('KCl', 'cesiumchloride', a=3.8)
    return cells


def held_out_crystals() -> dict[str, Atoms]:
    """Name -> cell of crystals that the starter never sees; the model card states its errors on them."""
    return {
        'rs-CaSe': bulk('CaSe', 'rocksalt', a=5.92),
        'rs-BaO': bulk('BaO', 'rocksalt', a=5.52),
        'zb-SiGe': bulk('SiGe', 'zincblende', a=5.55),
        'zb-GaN': bulk('GaN', 'zincblende', a=4.50),
        'rs-NaCl_KCl': _mixed_halide(),
    }


def by_crystal(frames: list[Atoms]) -> dict[str, list[Atoms]]:
    """Group frames by the crystal that they were drawn from."""
    groups: dict[str, list[Atoms]] = defaultdict(list)
    for frame in frames:
        groups[frame.info['crystal']].append(frame)
    return groups


def _mixed_halide() -> Atoms:
    cell = bulk('NaCl', 'rocksalt', a=5.95, cubic=True)
    cell.symbols[[0]] = 'K'
    return cell
