"""Pages of what follows from a potential: phases behind imaginary modes, thermal expansion, thermal conductivity."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
from aiida import orm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aiida_equitrain.calculations.arrays import arrays_of
from aiida_equitrain.common.formatting import formula, number
from aiida_equitrain.common.names import ROOT_PHASE
from aiida_equitrain.common.printable import NAME, SENTENCE, printable, printable_tree
from aiida_equitrain.query.failures import reason_of
from aiida_equitrain.science.verdict import Verdict, number_in

from . import page, thermal
from .collect import REPORTABLE, NoReportError, bands_of_bars, collect, commands, error_bars_of, read_once
from .curves import band_columns, describe
from .instability import (
    draw_phase_phonons,
    draw_wells,
    mode_name,
    mode_pairs,
    phase_band_columns,
    soft_bands,
    well_columns,
)
from .phonons import bands_of, density_of
from .plots import STYLE, draw_bands, draw_error_bars
from .results import crystal_of, describe_result, kind_of, summary_of
from .verdict import (
    BELOW,
    as_data,
    for_summary,
    of_conductivity,
    of_corrected,
    of_expansion,
    of_phases,
    of_phonons,
    steps_after,
    trusted_temperature,
)

#: Radii of atoms in pictures, as a part of the covalent ones: neighbours do not hide one another.
RADIUS = 0.5
#: Tolerance of symmetry in pictures, Å, and from how many atoms on a cell is not repeated.
LOOSE, ENOUGH_ATOMS = 1e-2, 8

PHASE_HEADS = ['phase', 'space group', 'meV/atom below', 'phonons', 'reached from', 'structure']
#: The same, but for the file, in a CSV file.
PHASE_COLUMNS = ('phase', 'space_group', 'mev_per_atom_below', 'phonons', 'reached_from')


def is_property(node: Any) -> bool:
    """Say whether there is such a page of a node."""
    return kind_of(node) in KINDS


@read_once
def collect_property(node: orm.ProcessNode) -> dict[str, Any]:
    """Return title, text, tables, figures and their curves of the page.

    :raises NoReportError: with a sentence, if the job has no result.
    """
    kind = kind_of(node)
    title, needed, draw = KINDS[kind]
    if needed not in node.outputs:
        why = f'it failed: {reason_of(node)}' if node.is_terminated else 'it has not ended'
        raise NoReportError(f'PK {node.pk} has no `{needed}`: {why}')
    data = draw(node)
    facts, verdict = judge_property(node)
    judged = {'verdict': as_data(verdict, steps_after(node, kind)), 'summary': {**facts, **for_summary(verdict)}}
    data |= printable_tree(judged, longest=SENTENCE)
    structure = crystal_of(node)
    head: dict[str, Any] = {
        'title': f'{formula(structure.get_formula())}: {title}' if structure is not None else title,
        'subtitle': f'{node.process_label} {node.pk} · {node.uuid} · {node.ctime:%Y-%m-%d %H:%M} UTC',
        'commands': commands(node),
    }
    summary = printable_tree({**summary_of(node), **data['summary']}, longest=SENTENCE)
    head = printable_tree(head, longest=SENTENCE)
    curves = {name: band_columns(bands) for name, bands in data.get('bands', {}).items()} | data.get('curves', {})
    return {**head, 'text': describe_result(node), **data, 'curves': curves, 'summary': summary}


def judge_property(node: Any) -> tuple[Mapping[str, Any], Verdict]:
    """Return facts for ``summary.json``, and the verdict on a job; no figure is drawn for it."""
    kind = kind_of(node)
    if kind == 'instability':
        phases = printable_tree(node.outputs.tree['phases'], longest=NAME)
        return {'phases': phases}, of_phases(node, phases)
    if kind in ('qha', 'kappa'):
        facts = node.outputs[kind].get_dict()
        return facts, {'qha': of_expansion, 'kappa': of_conductivity}[kind](node, facts)
    if 'correction' in node.outputs:
        facts = printable_tree(node.outputs.correction.get_dict(), longest=SENTENCE)
        return facts, of_corrected(node, facts, float(node.outputs.error_bars.get_array('path_frequencies_thz').max()))
    return {}, of_phonons(node, node.outputs.stability.get_dict() if 'stability' in node.outputs else {})


def verdict_data(node: Any) -> dict[str, Any] | None:
    """Return the verdict on a job as the page has it, ``None`` of a job that nothing judges."""
    kind = kind_of(node)
    if f'equitrain.{kind}' in REPORTABLE:
        judged: dict[str, Any] = collect(node)['verdict']
    elif kind in KINDS and KINDS[kind][1] in node.outputs:
        judged = as_data(judge_property(node)[1], [])
    else:
        return None
    shown: dict[str, Any] = printable_tree(judged, longest=SENTENCE)
    return shown


def in_pairs(text: str) -> list[tuple[str, str]]:
    """Return the lines of a table of results as name and value; the columns of a terminal do not fit on a phone."""
    found = []
    for line in text.splitlines():
        name, gap, value = re.match(r'(.*?)( {2,}|: (?=[-+−\d])|$)(.*)', line.strip()).groups()  # type: ignore[union-attr]
        found.append((name, value) if gap and line.startswith(' ') else (line.strip(), ''))
    return found


def render_property(data: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """Return the page.

    :param figures: SVG text by name of figure.
    """
    shown = {key: data[key] for key in ('title', 'subtitle', 'captions', 'commands')}
    drawn = page.accessible(figures, data['captions'], data.get('described'))
    return page.fill(
        'property.html',
        table=data.get('table'),
        notes=data.get('notes', []),
        verdict=data.get('verdict'),
        numbers=in_pairs(data['text']),
        figures=drawn,
        live=page.live_figures(data.get('bands', {}), figures),
        csv={name: f'{name}.csv' for name in data.get('curves', {})},
        **shown,
    )


def draw_phases(phases: Mapping[str, Any], structures: Mapping[str, Any]) -> Figure:
    """Draw the conventional cell of each crystal along x and along z, with its name, space group and energy.

    :param phases: of the tree, by name.
    :param structures: ASE atoms by name.
    """
    from ase.data import chemical_symbols
    from ase.data.colors import jmol_colors
    from ase.visualize.plot import plot_atoms

    names = [name for name in phases if name in structures]
    figure = Figure(figsize=(4.6, 2.3 * len(names) + 0.3), layout='constrained')
    elements = sorted({int(element) for name in names for element in structures[name].numbers})
    handles = [
        Line2D([], [], marker='o', linestyle='', markersize=9, markeredgecolor='#7f8796', color=jmol_colors[element],
               label=chemical_symbols[element])
        for element in elements
    ]  # fmt: skip
    figure.legend(handles=handles, loc='outside upper left', ncols=len(handles))
    for row, name in enumerate(names):
        phase = phases[name]
        atoms = _conventional(structures[name])
        for column, (axis, rotation) in enumerate((('x', '-90x,-90y,0z'), ('z', '0x,0y,0z'))):
            panel: Any = figure.add_subplot(len(names), 2, 2 * row + column + 1)
            plot_atoms(atoms, panel, rotation=rotation, radii=RADIUS, show_unit_cell=2)
            panel.set_axis_off()
            panel.set_title(f'{name}, along {axis}', fontsize=8)
            if column == 0:
                below = phase['energy_below_root_mev_per_atom']
                text = f'{phase["space_group"]}\n{number(below)} meV/atom below'
                panel.text(0, -0.02, text, transform=panel.transAxes, fontsize=7, va='top')
    return figure


def _conventional(atoms: Any) -> Any:
    """Return the conventional cell, repeated if it has few atoms."""
    import spglib
    from ase import Atoms

    cell: Any = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    found: Any = spglib.standardize_cell(cell, to_primitive=False, symprec=LOOSE)
    if found is not None:
        atoms = Atoms(cell=found[0], scaled_positions=found[1], numbers=found[2], pbc=True)
    return atoms if len(atoms) >= ENOUGH_ATOMS else atoms * (2, 2, 2)


def _instability(node: Any) -> dict[str, Any]:
    phases = printable_tree(node.outputs.tree['phases'], longest=NAME)
    structures = {
        printable(name, longest=NAME): node.outputs.phases[name].get_ase()
        for name in (node.outputs.phases if 'phases' in node.outputs else [])
    }
    root = crystal_of(node)
    if root is not None:
        structures[ROOT_PHASE] = root.get_ase()
    figures: dict[str, Figure] = {}
    curves: dict[str, dict[str, Any]] = {}
    captions: dict[str, tuple[str, str]] = {}
    pairs = printable_tree(mode_pairs(node), longest=NAME)
    source = 'the potential' if 'potential' in node.inputs else 'DFT'
    bands = soft_bands(node)
    bands = None if bands is None else printable_tree(bands, longest=NAME)
    with matplotlib.rc_context(STYLE):
        if bands:
            figures['bands'] = draw_bands(bands)
            captions['bands'] = ('Phonon bands of the parent', f'By {source}; imaginary frequencies are below zero.')
        if pairs:
            figures['wells'], curves['wells'] = draw_wells(pairs), well_columns(pairs)
            captions['wells'] = (
                'Energy along imaginary modes',
                f'Marks: {source}, hollow where symmetry makes both sides alike; lines: the fit; triangles: its '
                'minimum. Named is the atom that moves most, and where to in conventional axes.',
            )
        phonons = draw_phase_phonons(node, phases)
        if phonons is not None:
            figures['phase_phonons'], curves['phase_phonons'] = phonons, phase_band_columns(node, phases)
            captions['phase_phonons'] = ('Phonon bands of the phases', f'By {source}, THz.')
        if structures:
            figures['phases'] = draw_phases(phases, structures)
            captions['phases'] = ('Phases', 'Conventional cells, small ones repeated, seen along x and along z.')
    named = {name: file_name(name, number) for number, name in enumerate(structures)}
    files = {named[name]: cif_of(atoms) for name, atoms in structures.items()}
    stable = bool(phases.get(ROOT_PHASE, {}).get('dynamically_stable'))
    notes = ['There are no imaginary modes beyond the tolerance: nothing was followed.'] if stable else []
    rows = phase_rows(phases, pairs, named)
    table = {'heads': PHASE_HEADS, 'rows': rows}
    curves['phases'] = {name: [row['cells'][column] for row in rows] for column, name in enumerate(PHASE_COLUMNS)}
    return {
        'figures': figures, 'captions': captions, 'notes': notes, 'bands': {'bands': bands} if bands else {},
        'curves': curves, 'described': describe({'bands': bands}), 'files': files, 'table': table,
    }  # fmt: skip


def phase_rows(phases: Mapping[str, Any], pairs: Any, files: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the phases as rows of a table, the lowest in energy first, with the name of the file of each."""
    words = {True: 'stable', False: 'unstable', None: 'not examined'}
    along = {(entry['parent'], tuple(entry['direction'])): entry.get('along', '') for entry, _ in pairs}
    rows = []
    for name, phase in sorted(phases.items(), key=lambda pair: -(number_in(pair[1], BELOW) or 0.0)):
        direction = phase.get('direction')
        where = along.get((phase['parent'], tuple(direction)), '') if isinstance(direction, list) else ''
        way = '' if phase['parent'] is None else f'{phase["parent"]}, {mode_name(phase)} {where}'.strip()
        cells = [name, phase['space_group'], phase[BELOW], words.get(phase['dynamically_stable'], words[None]), way]
        rows.append({'cells': cells, 'file': files.get(name, '')})
    return rows


def file_name(phase: str, number: int) -> str:
    """Return the name of the file of a phase: its own, or a number if that is none of ours."""
    return f'{phase}.cif' if phase == ROOT_PHASE or re.fullmatch('phase_[0-9]+', phase) else f'structure_{number}.cif'


def cif_of(atoms: Any) -> bytes:
    """Return a crystal as a CIF."""
    from ase.io import write

    buffer = io.BytesIO()
    write(buffer, atoms, format='cif')
    return buffer.getvalue()


def _qha(node: Any) -> dict[str, Any]:
    facts = node.outputs.qha.get_dict()
    curves = arrays_of(node.outputs.curves)
    text = 'Free energy above its minimum, over volume, at some temperatures; over temperature what follows there.'
    if trusted_temperature(facts) < curves['temperatures_k'][-1]:
        text += ' Grey: where the approximation itself ends.'
    caption = ('Quasi-harmonic approximation', text)
    modes = arrays_of(node.outputs.gruneisen) if 'gruneisen' in node.outputs else None
    with matplotlib.rc_context(STYLE):
        figure = thermal.draw_qha(curves, trusted_temperature(facts), modes)
    return {
        'figures': {'qha': figure},
        'captions': {'qha': caption},
        'curves': {'qha': thermal.qha_columns(curves)},
        'described': {'qha': thermal.describe_qha(facts)},
    }


def _kappa(node: Any) -> dict[str, Any]:
    caption = ('Lattice thermal conductivity', 'Over temperature, and summed over modes up to a frequency.')
    return _drawn('kappa', thermal.draw_kappa, node.outputs.modes, caption)


def _corrected(node: Any) -> dict[str, Any]:
    caption = ('Corrected phonon bands', 'Shaded: one and two standard deviations. Beside them the potential alone.')
    bars = printable_tree(error_bars_of(node.outputs.error_bars), longest=NAME)
    with matplotlib.rc_context(STYLE):
        figure = draw_error_bars(bars)
    return {'figures': {'bands': figure}, 'captions': {'bands': caption}, 'bands': {'bands': bands_of_bars(bars)}}


def _phonons(node: Any) -> dict[str, Any]:
    if 'correction' in node.outputs:
        return _corrected(node)
    side, source = ('potential', 'of a potential') if 'potential' in node.inputs else ('dft', 'of DFT')
    bands = {'bands': printable_tree(bands_of(node.outputs.bands, side, density_of(node)), longest=NAME)}
    with matplotlib.rc_context(STYLE):
        figure = draw_bands(bands['bands'])
    caption = ('Phonon bands and density of states', f'Phonons {source}; imaginary frequencies are below zero.')
    return {'figures': {'bands': figure}, 'captions': {'bands': caption}, 'bands': bands, 'described': describe(bands)}


def _drawn(name: str, draw: Callable[[Any], Any], arrays: Any, caption: tuple[str, str]) -> dict[str, Any]:
    """Return a section with one figure, of the arrays of a node."""
    with matplotlib.rc_context(STYLE):
        figure = draw(arrays_of(arrays))
    return {'figures': {name: figure}, 'captions': {name: caption}}


#: Title, the output without which there is no page, and what reads it.
KINDS: dict[str, tuple[str, str, Callable[[Any], dict[str, Any]]]] = {
    'instability': ('imaginary modes and the phases behind them', 'tree', _instability),
    'qha': ('thermal expansion', 'qha', _qha),
    'phonons': ('phonons', 'bands', _phonons),
    'kappa': ('lattice thermal conductivity', 'kappa', _kappa),
}
