"""Parts of the report: numbers, ticks, figures, and a page without outside requests."""

from __future__ import annotations

import html
import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from ase.build import bulk as bulk_crystal
from matplotlib.figure import Figure

from aiida_equitrain.cli.report import show_report
from aiida_equitrain.cli.results import show_result
from aiida_equitrain.common.formatting import duration, number
from aiida_equitrain.common.progress import describe_progress
from aiida_equitrain.report import collect as collect_module
from aiida_equitrain.report.collect import (
    branch_rows,
    collect,
    elastic_rows,
    path_ticks,
    phonon_rows,
    read_once,
    symfc_words,
    training_rows,
)
from aiida_equitrain.report.curves import curves_of, describe
from aiida_equitrain.report.flow import draw_flow
from aiida_equitrain.report.instability import COLOURS, well_columns
from aiida_equitrain.report.live import MAX_NUMBERS, band_spec, data_block, learning_spec, library, parity_spec
from aiida_equitrain.report.page import accessible, render
from aiida_equitrain.report.plots import INK, SIDES, draw_all, draw_bands, frame_bands, to_png, to_svg
from aiida_equitrain.report.property_page import file_name, in_pairs
from aiida_equitrain.report.results import table
from aiida_equitrain.report.thermal import BLUE, ORANGE, WARMER, draw_qha, qha_columns
from aiida_equitrain.report.write import _write
from aiida_equitrain.science.phonon_files import csv_text


@pytest.mark.parametrize(
    ('value', 'text'),
    [(None, '–'), (float('nan'), '–'), (0.0, '0'), (0.05234, '0.0523'), (-12.345, '−12.3'), (1234.5, '1234')],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ('seconds', 'text'), [(None, '–'), (1.25, '1.2 s'), (59.6, '1 min 00 s'), (125, '2 min 05 s'), (7300, '2 h 01 min')]
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_ticks() -> None:
    """Where the path jumps both names stand at one place."""
    distances = np.array([0, 1, 1, 2, 2, 3.0])
    labels = [['Γ', 'X'], ['U', 'L'], ['L', 'Γ']]
    assert path_ticks(distances, [0, 2, 4], labels) == [(0, 'Γ'), (1, 'X|U'), (2, 'L'), (3, 'Γ')]


def test_names_of_points_do_not_meet() -> None:
    """Names of points that lie close together stand in rows of their own, also in the small panels of phases."""
    ticks = [(0.0, 'Γ'), (0.14, 'T'), (0.26, 'H₂|H₀'), (0.37, 'L'), (0.52, 'Γ'), (0.69, 'S₀|S₂'), (0.75, 'F'),
             (0.92, 'Γ')]  # fmt: skip
    figure = Figure(figsize=(7.2, 2.7), layout='constrained')
    axes = figure.subplots(1, 2)[0]
    frame_bands(axes, ticks, size=7.0)
    figure.draw_without_rendering()
    rows: dict[int, list[Any]] = {}
    for label in axes.get_xticklabels():
        rows.setdefault(label.get_text().count('\n'), []).append(label.get_window_extent())
    assert {row: len(boxes) for row, boxes in rows.items()} == {0: 7, 1: 1}
    for boxes in rows.values():
        assert all(first.x1 < second.x0 for first, second in pairwise(boxes))


def test_numbers_of_a_page() -> None:
    """What a terminal has in columns is name and value on the page, where columns do not fit on a phone."""
    text = table('Si: phonons', [('lowest frequency', '−0.1', 'THz'), ('dynamically stable', 'no', '')])
    assert in_pairs(f'{text}\n  300 K: 1.2 W/m/K\nat q') == [
        ('Si: phonons', ''), ('lowest frequency', '−0.1 THz'), ('dynamically stable', 'no'), ('300 K', '1.2 W/m/K'),
        ('at q', ''),
    ]  # fmt: skip


def test_rows() -> None:
    """Tables hold every side, and leave out what nobody knows."""
    comparison = {
        'reference': {'max_frequency_thz': 15.0, 'dynamically_stable': True},
        'candidates': {'foundation': {'phonon_mae_thz': 0.4, 'max_frequency_thz': 12.0}},
        'symfc': None,
    }
    rows = phonon_rows(comparison)
    assert rows[0]['foundation'] == 0.4
    assert [row['quantity'] for row in rows][-1] == 'dynamically stable'
    errors = {'train': {'forces_mae_mev_per_angstrom': 5.0}}
    forgetting = {'forces_mae_before_mev_per_angstrom': 70.0, 'forces_mae_after_mev_per_angstrom': 90.0}
    rows = training_rows({'errors': {'before': errors, 'after': errors}, 'forgetting': forgetting})
    assert rows[-1] == {'quantity': 'force MAE, other crystals (meV/Å)', 'before': 70.0, 'after': 90.0}


def test_progress_words() -> None:
    """What a training job writes becomes a few words."""
    content = {'stage': 'train', 'done': 3, 'total': 60, 'valid_forces_mae': 0.0312, 'seconds_left': 65.0}
    assert describe_progress(content) == 'train 3/60, validation forces 31.2 meV/Å, 1 min 05 s left at most'
    assert describe_progress({}) == ''


@pytest.fixture
def data() -> dict[str, Any]:
    """Return a small report with every figure."""
    line = np.linspace(0, 1, 5)
    sides = {name: np.stack([line, 2 * line], 1) for name in ('dft', 'foundation', 'finetuned', 'symfc')}
    curves = {'temperature_k': line, 'heat_capacity': line, 'entropy': line, 'free_energy': line}
    learning = {'epoch': np.arange(5), 'learning_rate': 0.01 * np.ones(5), 'best_epoch': 3}
    learning |= {f'{split}_{key}_mae': 0.1 + line for split in ('train', 'valid') for key in ('forces', 'energy')}
    stage = {'title': 'label <frames>', 'state': 'failed', 'jobs': 3, 'reused': 1}
    return {
        'material': 'Si<2>',
        'title': 'title',
        'subtitle': 'sub',
        'notes': ['a note'],
        'verdict': {
            'level': 'bad',
            'title': 'One thing is <wrong>.',
            'sentences': ['Off by 0.1 THz.'],
            'flags': [{'level': 'red', 'text': 'the cell', 'remedy': 'take `--recipe mixed` & more'}],
            'steps': [{'title': 'Use it', 'items': [{'text': 'phonons', 'command': 'aiida-equitrain export 1 DIR'}]}],
        },
        'warnings': ['the energy is <worse>'],
        'headline': [{'value': '0.1 THz', 'label': 'error'}],
        'errors': [{'quantity': 'stable', 'dft': True, 'foundation': False, 'symfc': 0.1}],
        'training_tables': {
            '': [
                {'quantity': 'forces', 'before': 2.0, 'after': None},
                {'quantity': 'energy', 'before': 1.0, 'after': 3.0},
                {'quantity': 'stress', 'before': 5.0, 'after': 4.0},
            ]
        },
        'stages': [{**stage, 'wall_seconds': 3.0, 'core_seconds': 4.0}],
        'facts': [('seed', '1')],
        'commands': ['verdi process status 1'],
        'bands': {'segments': [{'distances': line, 'sides': sides}], 'ticks': [(0.0, 'Γ'), (1.0, 'X')]},
        'thermal': {'dft': curves, 'finetuned': curves},
        'learning': learning,
        'parity': {'reference': line, 'foundation': line, 'finetuned': line},
    }


def test_page(data: dict[str, Any]) -> None:
    """The page stands alone: no script, nothing from elsewhere, ids unique, names escaped."""
    figures = draw_all(data)
    flow = {
        'nodes': {
            'structure': {'title': 'structure', 'lines': ['Si'], 'state': 'data'},
            'label': {'title': 'label', 'lines': [], 'state': 'done'},
        },
        'edges': [('structure', 'label')],
    }
    figures['flow'] = draw_flow(flow)
    assert set(figures) == {'bands', 'learning', 'parity', 'thermal', 'flow'}
    assert to_png(figures['bands']).startswith(b'\x89PNG')
    shown = {**data, 'curves': curves_of(data), 'described': describe(data)}
    whole = render(shown, {name: to_svg(figure, name) for name, figure in figures.items()})
    assert whole.count(library()) == 1
    assert f'One file of {len(whole.encode()) / 1e6:.1f} MB' in whole
    page = whole.replace(library(), '')
    assert 'Si&lt;2&gt;' in page
    assert '<p class="note warning">the energy is &lt;worse&gt;</p>' in page
    assert re.findall(r'<td class="bad">(.*?)</td>', page) == ['3.00']
    assert '<section class="verdict is-bad" aria-label="Verdict"><h2>One thing is &lt;wrong&gt;.</h2>' in page
    assert 'What to do: take <code>--recipe mixed</code> &amp; more.' in page
    assert '<code>aiida-equitrain export 1 DIR</code>' in page
    # Data, plotly.js and our own script, and a policy that lets no other run.
    blocks = [f' type="application/json" id="live-{name}"' for name in ('bands', 'learning', 'parity')]
    assert re.findall(r'<script(.*?)>', page) == [*blocks, '', '']
    policy = html.unescape(re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)[0])
    assert [len(part.split()) for part in policy.split('; ') if part.startswith('script-src')] == [3]
    links = re.findall(r'(?:src|href|url)[=(]["\']?([^"\')\s>]+)', page)
    beside = {'bands.csv', 'thermal.csv', 'learning.csv', 'parity.csv'}
    assert {link for link in links if not link.startswith(('#', 'data:'))} == beside
    assert 'aria-label="Phonon bands. Along Γ, X, frequencies in THz; DFT from 0 to 2.00; ' in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.count('<svg ') == 5
    assert 'var(--ink)' in page


def test_wide_figures() -> None:
    """A figure of panels side by side keeps its width on a phone; others shrink with the screen."""
    svgs = {name: to_svg(Figure(figsize=(width, 2.0)), name) for name, width in (('one', 4.6), ('two', 7.2))}
    shown = accessible(svgs, {'one': ('One', ''), 'two': ('Two', '')})
    assert shown['two'].startswith('<svg class="panels" style="--width: 518px" role="img" aria-label="Two."')
    assert shown['one'].startswith('<svg role="img" aria-label="One."')


def test_page_without_dft(data: dict[str, Any]) -> None:
    """Nothing is said of DFT where there is none."""
    sides = dict(data['bands']['segments'][0]['sides'])
    for there in (True, False):
        figures = {'bands': to_svg(draw_bands(data['bands']), 'bands')}
        page = render(data, figures).replace(library(), '')
        assert ('should lie on that of DFT' in page) == there
        assert ('there is no DFT to hold the curves against' in page) != there
        data['bands']['segments'][0]['sides'] = {name: sides[name] for name in ('foundation', 'symfc')}


def real_bands(points: int = 11, n_bands: int = 6) -> dict[str, Any]:
    """Return two segments with everything that bands may have beside them."""
    place = np.linspace(0, 1, points)
    first = np.arange(1, n_bands + 1) * place[:, None]
    segments = [
        {
            'distances': place + shift,
            'sides': {'dft': first, 'corrected': first + 0.1},
            'qpoints': np.ones((points, 3)) / 3,
        }
        for shift in (0, 1)
    ]
    return {
        'segments': segments, 'ticks': [(0, 'Γ'), (1, '<b>$X$'), (2, 'L')],
        'sigmas': {'corrected': [0.01 + 0 * first, 0.02 + 0 * first]},
        'marks': {'corrected': [{'x': 0.5, 'y': 3.0, 'text': 'furthest & <worst>'}]},
        'dos': {'dft': place, 'corrected': place}, 'dos_frequencies': n_bands * place,
    }  # fmt: skip


def test_live_bands() -> None:
    """The data of a live figure are complete, of bounded size, and cannot end their block."""
    spec = band_spec(real_bands())
    side = spec['sides'][1]
    assert [each['name'] for each in spec['sides']] == ['dft', 'corrected']
    assert (len(spec['x']), len(side['bands']), len(side['bands'][0])) == (23, 6, 23)
    assert side['bands'][0][11] is None
    assert side['sigmas'][0][12] == 0.02
    assert spec['q'][0] == '0.333 0.333 0.333'
    assert side['marks'][0]['text'] == 'furthest &amp; &lt;worst&gt;'
    assert spec['ticks'][1] == [1.0, '&lt;b&gt;&#36;X&#36;']
    block = str(data_block(spec))
    assert not set('<>&') & set(block)
    assert json.loads(block) == spec
    long = band_spec(real_bands(points=400, n_bands=300))
    assert sum(len(band) for each in long['sides'] for band in each['bands']) < 1.1 * MAX_NUMBERS
    assert long['x'][-1] == 2.0


def test_live_curves(data: dict[str, Any]) -> None:
    """Learning curves have a panel for each quantity in its unit; of very many forces not all are drawn."""
    learning = data['learning'] | {'valid_forces_mae': np.array([0.1, np.nan, 0.3, 0.4, 0.5]), 'best_epoch': None}
    spec = learning_spec(learning)
    assert [panel['title'] for panel in spec['panels']] == ['force MAE<br>(meV/Å)', 'energy MAE<br>(meV/atom)']
    assert spec['sides'][1]['curves'][0]['y'] == [100.0, None, 300.0, 400.0, 500.0]
    assert spec['line'] is None
    assert json.loads(str(data_block(spec))) == spec
    many = np.linspace(-1, 1, 2 * MAX_NUMBERS)
    spec = parity_spec({'reference': many, 'finetuned': many + 0.001})
    assert spec['sides'][0]['label'] == 'fine-tuned: MAE 1.00 meV/Å'
    assert len(spec['sides'][0]['curves'][0]['x']) <= MAX_NUMBERS / 2
    assert spec['diagonal'] == 1.08


def test_browser_draws_live_bands(data: dict[str, Any], browser: str, tmp_path: Path) -> None:
    """In a browser the bands are drawn by the script that the policy lets run, without a word on the console."""
    bands = real_bands()
    drawn = {'bands': to_svg(draw_bands(bands), 'bands')}
    path = tmp_path / 'report.html'
    path.write_text(render({**data, 'bands': bands}, drawn), encoding='utf-8')
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', '--virtual-time-budget=5000']
    command = [browser, *options, f'--user-data-dir={tmp_path / "profile"}', '--dump-dom', path.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert 'CONSOLE' not in result.stderr, result.stderr
    assert '<figure data-live="live-bands" class="is-live">' in result.stdout
    # Two sides: bands and density of each, two shades and a mark of the corrected one.
    assert result.stdout.count('<g class="trace scatter') == 2 * 2 + 2 + 1


@pytest.mark.real
def test_page_in_the_browser(data: dict[str, Any], check_pages: Any, tmp_path: Path) -> None:
    """On a phone and on a screen, light and dark, nothing is cut, hard to see or wrong by axe-core."""
    whole = {**data, 'bands': real_bands(), 'branches': branch_rows({'candidates': {}})}
    figures = {name: to_svg(figure, name) for name, figure in draw_all(whole).items()}
    (tmp_path / 'report.html').write_text(render({**whole, 'described': describe(whole)}, figures), encoding='utf-8')
    assert check_pages([tmp_path]) == []


@pytest.mark.real
def test_faults_in_the_browser(check_pages: Any, tmp_path: Path) -> None:
    """Whatever `check_pages.py` looks for is found where it is."""
    (tmp_path / 'bad.html').write_text(
        '<html lang="en"><title>t</title><body style="background: #fff; margin: 0"><main><h1>h</h1>'
        '<p style="color: #ccc">pale</p><div style="width: 3000px">wide</div><img alt="x" src="https://localhost/x">'
        '<figure><svg viewBox="0 0 9 9" width="90" height="90" style="overflow: visible"><text x="8">out</text>'
        '<path d="M0 0L9 9" style="fill: none; stroke: #eee"/></svg></figure></main>'
        '<script>console.error("said")</script></body></html>'
    )
    found = '\n'.join(check_pages([tmp_path]))
    for fault in ('390 light: the page is 3000 wide: div', 'color-contrast: p: ', 'asks for https://localhost/x',
                  'text of a figure is cut: "out"', 'a line of rgb(238, 238, 238) has a contrast of 1.16',
                  'console: said', '1280 dark'):  # fmt: skip
        assert fault in found, found


def test_still_bands() -> None:
    """The figure for print has densities of states, shades, marks, and a legend that is not cut."""
    figure = draw_bands(real_bands())
    main, beside = figure.axes
    assert len(main.collections) == 2 * 2 * 6
    assert len(beside.lines) == 3
    text = to_svg(figure, 'bands')
    assert 'foundation, corrected' in text
    box, page = figure.legends[0].get_window_extent(), figure.bbox
    assert box.x0 >= page.x0
    assert box.x1 <= page.x1


def test_csv() -> None:
    """Curves are tables with units in their headings; standard deviations stand beside the bands."""
    columns = curves_of({'bands': real_bands()})['bands']
    lines = csv_text(columns).splitlines()
    assert lines[0].startswith('segment,distance_per_angstrom,q_1,q_2,q_3,dft_thz_1,dft_thz_2')
    assert lines[0].endswith('corrected_sigma_thz_6')
    assert len(lines) == 23
    assert lines[2].startswith(f'1,0.1,{1 / 3},{1 / 3},{1 / 3},0.1,0.2')


def test_files_of_phases() -> None:
    """A file has the name of its phase; a name that may lead elsewhere is none."""
    assert [file_name(name, 3) for name in ('root', 'phase_1', '../x', '')] == [
        'root.cif', 'phase_1.cif', 'structure_3.cif', 'structure_3.cif'
    ]  # fmt: skip


def test_well_columns() -> None:
    """Each point of a scan has its mode and direction; the fit is given where it is one."""
    entry = {'n_atoms': 2, 'parent': 'root', 'qpoint_name': 'Γ', 'irrep': 'T1u', 'frequency_thz': -2.0,
             'direction': [1.0, 0.0], 'amplitudes_angstrom': [0.0, 0.1, 0.2, 0.3]}  # fmt: skip
    well = {'energies_ev': [0.0, -0.01, 0.2, None], 'powers': [2], 'coefficients': [-1.0], 'reach_angstrom': 0.15}
    lines = csv_text(well_columns([(entry, well)])).splitlines()
    assert lines[0].endswith('direction,displacement_angstrom,energy_mev_per_atom,fit_mev_per_atom')
    assert lines[2].startswith('root,Γ T1u,-2.0,[1.00 0.00],0.1,-5.0,-5.0')
    assert lines[3].endswith(',0.2,100.0,')
    assert lines[4].endswith(',0.3,,')


def test_read_once() -> None:
    """What has ended is read once, however often it is asked for; what still runs is read each time."""
    asked = []

    @read_once
    def read(node: Any) -> dict[str, Any]:
        asked.append(node.uuid)
        return {'uuid': node.uuid}

    ended, running = SimpleNamespace(uuid='a', is_terminated=True), SimpleNamespace(uuid='b', is_terminated=False)
    read(ended)['changed'] = True
    assert [read(ended), read(running), read(running)] == [{'uuid': 'a'}, {'uuid': 'b'}, {'uuid': 'b'}]
    assert asked == ['a', 'b', 'b']


def test_expansion() -> None:
    """Free energies are drawn above their minimum; where the approximation ends, the curves lie on grey."""
    temperatures, volumes = np.linspace(0, 1000, 11), np.linspace(40, 44, 5)
    names = ('thermal_expansion_per_k', 'bulk_modulus_gpa', 'heat_capacity_p_j_per_k_mol', 'gruneisen_parameter',
             'equilibrium_volume_angstrom3', 'gibbs_ev')  # fmt: skip
    curves = dict.fromkeys(names, 0 * temperatures) | {'temperatures_k': temperatures, 'volumes_angstrom3': volumes}
    curves |= {'gibbs_ev': -temperatures, 'helmholtz_ev': -temperatures[:, None] + 0.01 * (volumes - 42) ** 2}
    modes = {'mesh_frequencies_thz': np.ones((3, 6)), 'mesh_gruneisen': np.ones((3, 6))}
    figure = draw_qha(curves, 600.0, modes)
    assert [line.get_ydata().max() for line in figure.axes[0].lines[::2]] == pytest.approx([40.0] * 5)
    assert [len(axes.patches) for axes in figure.axes] == [0, 1, 1, 1, 1, 0]
    assert not any(axes.patches for axes in draw_qha(curves, 2000.0).axes)
    columns = qha_columns(curves)
    assert next(iter(columns)) == 'temperature_k'
    assert {len(values) for values in columns.values()} == {11}


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast() -> None:
    """Every line stands out from the page, be it light or dark; the ink changes with the page."""
    assert contrast('#000000', '#ffffff') == pytest.approx(21)
    style = (Path(collect_module.__file__).parent / 'page.css').read_text()
    papers = re.findall(r'--paper: (#\w{6})', style)
    assert len(papers) == 2
    colours = {str(side['color']) for side in SIDES.values()} - {INK}
    for colour in colours | {*COLOURS, BLUE, ORANGE, *WARMER}:
        for paper in papers:
            assert contrast(colour, paper) >= 3, (colour, paper)


def test_branches() -> None:
    """Errors by branch, with the mean of many optical ones, and at the points of the path that have a name."""
    side = {'branch_mae_thz': [0.1, 0.2, 0.3, 0.4], 'optical_mae_thz': 0.4}
    points = [{'name': 'X', 'frequencies_thz': {'reference': [1.0, 2, 3, 4], 'finetuned': [4.5, 1.5, 2.5, 3.5]}}]
    rows = branch_rows({'candidates': {'finetuned': side}, 'points': points})
    assert [row['quantity'] for row in rows] == [
        'branch 1 (acoustic)', 'branch 2 (acoustic)', 'branch 3 (acoustic)', 'branch 4 (optical)',
        'at X, mean of all branches',
    ]  # fmt: skip
    assert rows[-1]['finetuned'] == pytest.approx(0.5)
    many = {'branch_mae_thz': [0.1] * 30, 'optical_mae_thz': 0.4}
    rows = branch_rows({'candidates': {'finetuned': many}})
    assert rows[3] == {'quantity': 'branches 4 to 30 (optical), mean', 'finetuned': 0.4}
    assert branch_rows({'candidates': {'finetuned': {'phonon_mae_thz': 0.1}}}) == []


def test_cells_and_the_reference() -> None:
    """Each side is named by its cell; a fit that is the reference has no error of 0."""
    side = {'phonon_mae_thz': 0.1, 'volume_angstrom3': 41.0, 'n_atoms': 2}
    comparison = {
        'reference': {'volume_angstrom3': 40.0, 'n_atoms': 2},
        'candidates': {'finetuned': side, 'corrected': {**side, 'volume_angstrom3': 80.0, 'n_atoms': 4}},
        'symfc': {'phonon_mae_thz': None, 'is_reference': True, 'n_frames': 4, 'how': 'unstrained frames alone'},
    }
    rows = {row['quantity']: row for row in phonon_rows(comparison)}
    assert rows['error over the Brillouin zone: MAE (THz)']['symfc'] == 'is the reference'
    assert rows['at the cell of'] == {'quantity': 'at the cell of', 'finetuned': 'own (+2.5 %)', 'corrected': 'DFT’s'}
    comparison['at_reference'] = {'finetuned': {**side, 'phonon_mae_thz': 0.05, 'branch_mae_thz': [0.1, 0.0, 0.0],
                                                'points': {'X': 0.07}}}  # fmt: skip
    found = {row['quantity']: row for row in phonon_rows(comparison)}
    assert list(found)[1] == 'all at DFT’s cell: error, MAE (THz)'
    # The corrected side is there already; the fit is the reference.
    assert found['all at DFT’s cell: error, MAE (THz)'] == {
        'quantity': 'all at DFT’s cell: error, MAE (THz)', 'dft': None, 'finetuned': 0.05, 'corrected': 0.1
    }  # fmt: skip
    comparison['points'] = [{'name': 'X', 'frequencies_thz': {'reference': [1.0, 2, 3], 'finetuned': [2.0, 3, 4]}}]
    assert {row['quantity']: row.get('finetuned') for row in branch_rows(comparison)} == {
        'all at DFT’s cell: branch 1 (acoustic)': 0.1, 'all at DFT’s cell: branch 2 (acoustic)': 0.0,
        'all at DFT’s cell: branch 3 (acoustic)': 0.0, 'all at DFT’s cell: at X, mean of all branches': 0.07,
    }  # fmt: skip
    assert symfc_words(comparison).startswith(': 4 unstrained frames alone; it is the reference')
    comparison['symfc']['n_frames'] = 1
    assert symfc_words(comparison).startswith(': 1 unstrained frame alone; it is')


def add_outputs(node: Any, **outputs: Any) -> None:
    """Attach data to a WorkChain as its outputs."""
    for label, output in outputs.items():
        output.store().base.links.add_incoming(node, LinkType.RETURN, label)


@pytest.mark.real
def test_verdict_of_a_run_that_diverged(
    aiida_profile: Any, tmp_path: Path, starter: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run whose cell is 12 % off and that ran away is red, on the page, in the terminal and in `summary.json`."""
    structure = orm.StructureData(ase=bulk_crystal('NaCl', 'rocksalt', a=5.6)).store()
    node = orm.WorkChainNode(process_type='aiida.workflows:equitrain.material')
    for label, data in {'structure': structure, 'foundation': starter}.items():
        node.base.links.add_incoming(data, LinkType.INPUT_WORK, label)
    node.store()
    right = {'max_frequency_thz': 8.0, 'volume_angstrom3': 44.0, 'n_atoms': 2, 'dynamically_stable': True}
    wrong = {**right, 'volume_angstrom3': 49.3, 'phonon_mae_thz': 0.5}
    candidates = {'foundation': {**right, 'phonon_mae_thz': 0.1}, 'finetuned': wrong}
    add_outputs(
        node,
        comparison=orm.Dict({'reference': right, 'candidates': candidates, 'symfc': None, 'mesh': [2, 2, 2]}),
        summary=orm.Dict({'best_epoch': 1, 'epochs': 3, 'strategy': 'transfer'}),
        metrics=orm.ArrayData({'epoch': np.arange(4), 'valid_forces_mae': np.array([0.1, 0.05, 0.2, 0.9])}),
    )
    show_report(node, tmp_path)
    assert 'Wrong: the cell of the fine-tuned' in capsys.readouterr().out
    assert show_result(node)
    assert 'Wrong: the cell of the fine-tuned' in capsys.readouterr().out
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['verdict_level'] == 'bad'
    assert set(summary['red_flags']) == {'volume', 'training_diverged', 'starter', 'no_nac'}
    page = (tmp_path / 'report.html').read_text()
    assert 'off by +12 % in volume from that of DFT' in page
    praised = '<td><span class="good">yes</span></td>'
    assert f'<td>dynamically stable</td>{praised}{praised}<td>yes</td>' in page
    assert f'aiida-equitrain launch qha {structure.pk} --foundation {starter.pk}' in page


def test_refuses_other_nodes(aiida_profile: Any) -> None:
    """A node that is no such job has its sentence."""
    with pytest.raises(ValueError, match='a report is made of a job of `aiida-equitrain launch`'):
        collect(orm.Int(1).store())


def test_elastic_rows(aiida_profile: Any) -> None:
    """The moduli of each potential that has them stand below the phonons."""
    node = orm.WorkChainNode(process_type='aiida.workflows:equitrain.material').store()
    for side, bulk in (('foundation', 80.0), ('finetuned', 90.0)):
        elastic = orm.Dict({'bulk_modulus_gpa': bulk, 'mechanically_stable': True}).store()
        elastic.base.links.add_incoming(node, LinkType.RETURN, f'phonons__{side}__elastic')
    assert elastic_rows(node.outputs) == [{'quantity': 'bulk modulus (GPa)', 'foundation': 80.0, 'finetuned': 90.0}]
    assert elastic_rows(orm.WorkChainNode().store().outputs) == []


@pytest.mark.real
def test_committee(aiida_profile: Any, tiny_dataset: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each member has its table of errors before and after, its warnings, and its lines in the terminal."""
    inputs = {'finetune__train__dataset': tiny_dataset, 'finetune__train__strategy': orm.Str('transfer'),
              'seed': orm.Int(9), 'n_seeds': orm.Int(2)}  # fmt: skip
    node = orm.WorkChainNode(process_type='aiida.workflows:equitrain.committee')
    for label, data in inputs.items():
        node.base.links.add_incoming(data.store(), LinkType.INPUT_WORK, label)
    node.store()
    key = 'forces_mae_mev_per_angstrom'
    outputs: dict[str, orm.Data] = {'committee': orm.Dict({'valid': {'forces_spread_mev_per_angstrom': 7.5}})}
    for seed, error in ((10, 52.5), (9, 31.5)):
        summary: dict[str, Any] = {'errors': {'before': {'valid': {key: 40.0}}, 'after': {'valid': {key: error}}}}
        if error > 40:
            summary |= {'worse_than_foundation': {'forces': [40.0, error]}, 'warnings': ['<forces> got worse']}
        outputs |= {f'summaries__seed_{seed}': orm.Dict(summary), f'metrics__seed_{seed}': orm.ArrayData()}
    for label, output in outputs.items():
        output.store().base.links.add_incoming(node, LinkType.RETURN, label)
    show_report(node, tmp_path)
    page, printed = (tmp_path / 'report.html').read_text(), capsys.readouterr().out
    assert re.findall(r'<h2>Errors on energies, forces, stress(.*?)</h2>', page) == [': seed_9', ': seed_10']
    assert re.findall(r'frames \(meV/Å\)</td><td>(.*?)</td>\n<td(.*?)>(.*?)</td>', page) == [
        ('40.0', '', '31.5'),
        ('40.0', ' class="bad"', '52.5'),
    ]
    assert '<p class="note warning">Warning (seed_10): &lt;forces&gt; got worse.</p>' in page
    assert 'a committee of 2 potentials' in page
    assert 'seed 9 to 10' in page
    assert 'forces differ by 7.50 meV/Å' in page
    assert 'Warning (seed_10): <forces> got worse.' in printed
    assert re.search(r'forces of validation frames \(seed_9\) +31.5 meV/Å, foundation 40.0', printed)


def test_link_in_the_folder(tmp_path: Path) -> None:
    """A report is written where a link stands, not where it leads to."""
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / 'report.html').symlink_to(tmp_path / 'mine')
    _write(tmp_path / 'report.html', b'page')
    assert (tmp_path / 'mine').read_text() == 'mine'
    assert (tmp_path / 'report.html').read_text() == 'page'
