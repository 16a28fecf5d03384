"""The page of a study: figures from real shapes, and what a browser makes of it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_equitrain.calculations.functions.study import collect_study as tabulate_study
from aiida_equitrain.cli.report import show_report
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.publish.write import publish
from aiida_equitrain.report.plots import to_svg
from aiida_equitrain.report.study_collect import describe_study, headline, study_warnings
from aiida_equitrain.report.study_page import render_study
from aiida_equitrain.report.study_plots import draw_material, draw_study
from aiida_equitrain.science.study_statistics import aggregate, with_deviations

pytestmark = pytest.mark.real

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
#: Run in the page after it was loaded: sorts by the error, opens a row by a click, and says what came of it.
CLICKS = """
const heads = [...document.querySelectorAll("#rows th button")];
const error = heads.findIndex((button) => button.textContent.startsWith("MAE"));
heads[error].click();
const first = document.querySelector("#rows tbody tr");
const values = [...document.querySelectorAll("#rows tbody tr")].map((row) => row.cells[error].dataset.value);
first.querySelector("button.open").click();
const opened = document.querySelector("dialog[open]");
const figures = opened && opened.querySelectorAll("svg").length;
const named = opened && opened.querySelector("h2").textContent === first.querySelector("button.open").textContent;
opened.querySelector(".close").click();
const closed = !opened.open;
document.title = JSON.stringify({values, opened: opened && opened.id, figures, named, closed});
"""


@pytest.fixture
def data() -> dict[str, Any]:
    """Return a study of three crystals, one of which has a failed row and a name that HTML would misread."""
    rng = np.random.default_rng(1)
    lines = [
        {
            'material': material, 'strategy': strategy, 'n_train': n_train, 'seed': 1, 'state': 'done', 'reason': None,
            'warnings': [], 'made_worse': None,
            'phonon_mae_thz': rng.uniform(0.1, 1), 'foundation_phonon_mae_thz': 1.2, 'symfc_phonon_mae_thz': 0.3,
            'dos_error_percent': 20.0, 'max_frequency_thz': 9.0, 'foundation_max_frequency_thz': 8.0,
            'reference_max_frequency_thz': 10.0, 'dynamically_stable': material != 'NaCl',
            'reference_dynamically_stable': material != 'NaCl', 'foundation_dynamically_stable': True,
            'label_core_seconds': 100.0, 'dft_core_seconds': 300.0, 'train_core_seconds': 40.0,
            'corrected_phonon_mae_thz': 0.02 / n_train, 'corrected_uncertainty_thz': 0.01,
            'corrected_finetuned_phonon_mae_thz': 0.015 / n_train, 'process_uuid': 'p', 'potential_uuid': 'q',
            'n_reference_phases': 2 if material == 'NaCl' else 0,
            'n_phases_found': int(material == 'NaCl'), 'n_phases_wrong': 0,
        }
        for material in ('AlN', 'NaCl', 'Si') for strategy in ('l2-tsp', 'transfer') for n_train in (2, 4)
    ]  # fmt: skip
    lines[0] |= {'state': 'failed', 'reason': 'it <b>failed</b>', 'phonon_mae_thz': None}
    table = with_deviations(pd.DataFrame(lines))
    table['warnings'] = [['Warning: <i>worse</i>.', 'Warning: odd.'], *([] for _ in range(11))]
    table.loc[0, 'made_worse'] = 'energies, stresses'
    rows = table.astype(object).where(table.notna(), None).to_dict('records')
    line = np.linspace(0, 1, 7)
    sides = {name: np.stack([line, 2 * line], 1) for name in ('dft', 'foundation', 'l2-tsp')}
    bands = {'segments': [{'distances': line, 'sides': sides}], 'ticks': [(0.0, 'Γ'), (1.0, 'X')], 'best': 'l2-tsp',
             'worst': (0.5, 0.2)}  # fmt: skip
    learning = {'l2-tsp': {'epoch': np.arange(4), 'valid_forces_mae': 0.1 + line[:4]}}
    sentences = {'AlN': [('l2-tsp, seed 1', 'Warning: <i>worse</i>.')]}
    materials = {
        name: {'rows': [row for row in rows if row['material'] == name], 'n_train': 4, 'seed': 1, 'bands': bands,
               'learning': learning, 'wells': [], 'warnings': sentences.get(name, []),
               'provenance': [('l2-tsp', 'process p')]}
        for name in ('AlN', 'NaCl', 'Si')
    }  # fmt: skip
    return {
        'subtitle': 'StudyWorkChain 1', 'warnings': ['Warning: energies in 1 of 12 rows.'],
        'notes': ['a note'], 'headline': [{'value': '1', 'label': 'study'}],
        'aggregates': aggregate(table, n_resamples=200), 'rows': rows, 'materials': materials, 'commands': ['verdi'],
    }  # fmt: skip


@pytest.fixture
def page(data: dict[str, Any]) -> str:
    """Return the page."""
    figures = {name: to_svg(figure, name) for name, figure in draw_study(data).items()}
    assert set(figures) == {'errors', 'deviations', 'confusion', 'cost'}
    materials = {
        material: {name: to_svg(figure, f'{material}-{name}') for name, figure in draw_material(item).items()}
        for material, item in data['materials'].items()
    }
    return render_study(data, figures, materials)


def test_page(page: str) -> None:
    """The page stands alone: nothing from elsewhere, ids unique, text escaped."""
    links = re.findall(r'(?:src|href|url)[=(]["\']?([^"\')\s>]+)', page)
    assert [link for link in links if not link.startswith(('#', 'data:'))] == []
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert 'it &lt;b&gt;failed' in page
    assert '<p class="note warning">Warning: energies in 1 of 12 rows.</p>' in page[: page.index('<section')]
    cell = '<td data-value="energies, stresses" class="bad" title="Warning: &lt;i&gt;worse&lt;/i&gt;. Warning: odd.">'
    assert page.count(f'{cell}energies, stresses</td>') == page.count('class="bad" title=') == 1
    assert page.count('<dd>Warning: &lt;i&gt;worse&lt;/i&gt;.</dd>') == 1
    assert '>DFT phases</button>' in page
    assert '>fine-tuned, corrected</button>' in page
    assert 'foundation, corrected' in page  # in the legend of the errors
    assert page.count('<dialog') == 3
    assert page.count('data-material=') == 12


@pytest.mark.parametrize('size', ['1200,1000', '390,800'])
def test_browser(page: str, browser: str, tmp_path: Path, size: str) -> None:
    """In a browser it loads without a message on the console; a heading sorts, a click on a row opens its crystal."""
    path = tmp_path / 'report.html'
    # The policy lets only the script of the page run: here also that of the test.
    digest = base64.b64encode(hashlib.sha256(CLICKS.encode()).digest()).decode()
    assert page.count('; script-src ') == 1
    allowed = page.replace('; script-src ', f"; script-src 'sha256-{digest}' ")
    path.write_text(allowed.replace('</body>', f'<script>{CLICKS}</script></body>'))
    quiet = ['--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', '--virtual-time-budget=2000']
    own = [f'--window-size={size}', f'--user-data-dir={tmp_path / "profile"}']
    command = [browser, *quiet, *own, '--dump-dom', path.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert 'CONSOLE' not in result.stderr, result.stderr
    title = re.search(r'<title>(.*?)</title>', result.stdout)
    assert title is not None
    said = json.loads(html.unescape(title.group(1)))
    numbers = [float(value) for value in said['values'] if value]
    assert numbers == sorted(numbers)
    assert said['values'][-1] == ''
    assert re.fullmatch(r'material-\d', said['opened'])
    assert said['named']
    assert said['closed']
    assert said['figures'] == 2


@pytest.mark.real
def test_in_the_browser(page: str, check_pages: Any, tmp_path: Path) -> None:
    """On a phone and on a screen, light and dark, nothing is cut, hard to see or wrong by axe-core."""
    (tmp_path / 'study.html').write_text(page)
    assert check_pages([tmp_path]) == []


def test_warnings_of_trainings(aiida_profile: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What trainings made worse stands in row, head, terminal, summary and README; failed rows count."""
    worse = {'worse_than_foundation': {'energy': [1.0, 2.0], 'stress': [3.0, 4.0]}, 'warnings': ['energies got worse']}
    summaries: list[dict[str, Any]] = [worse, {'worse_than_foundation': {}, 'warnings': ['odd labels']}, worse, {}]
    rows = {}
    for seed, summary in enumerate(summaries):
        training = orm.WorkChainNode(process_type='aiida.workflows:equitrain.material').store()
        orm.Dict(summary).store().base.links.add_incoming(training, LinkType.RETURN, 'summary')
        state = {'state': 'failed', 'reason': 'phonons failed'} if seed == 0 else {'state': 'done', 'reason': None}
        rows[f'row_{seed}'] = {'material': 'Si', 'strategy': 'lora', 'n_train': 2, 'seed': seed, **state,
                               'process_uuid': training.uuid}  # fmt: skip
    rows['row_4'] = {**rows['row_0'], 'seed': 4, 'process_uuid': None}
    study = orm.WorkChainNode(process_type='aiida.workflows:equitrain.study')
    study.base.links.add_incoming(PotentialData(TINY_MODEL).store(), LinkType.INPUT_WORK, 'foundation')
    study.store()
    for label, node in tabulate_study(orm.Dict(rows), orm.Dict({})).items():
        node.base.links.add_incoming(study, LinkType.RETURN, label)
    show_report(study, tmp_path)
    page, printed = (tmp_path / 'report.html').read_text(), capsys.readouterr().out
    cells = re.findall(r'class="bad" title="(.*?)">(.*?)</td>', page)
    assert cells == [
        ('Warning: energies got worse.', 'energies, stresses'), ('Warning: odd labels.', 'other warning'),
        ('Warning: energies got worse.', 'energies, stresses'),
    ]  # fmt: skip
    assert '<dt>lora, 2 frames, seed 0</dt><dd>Warning: energies got worse.</dd>' in page
    found = study_warnings(study)
    assert [text[: text.index('. ')] for text in found] == [
        'Warning: trainings made errors on validation frames worse than those of the foundation: energies in 2, '
        'stresses in 2 of 5 rows',
        'Warning: trainings warn of something else in 1 of 5 rows',
    ]
    assert json.loads((tmp_path / 'summary.json').read_text())['warnings'] == found
    for text in found:
        assert f'<p class="note warning">{text}</p>' in page
        assert text in printed
    study.set_process_state('finished')
    readme = publish(study.seal(), tmp_path / 'study.aiida').readme.read_text()
    assert '\n\n'.join(found) in readme


def test_text(data: dict[str, Any]) -> None:
    """The table in the terminal has a line per strategy and size, with intervals."""
    text = describe_study(data['aggregates'])
    assert len([line for line in text.splitlines() if line.startswith(('l2-tsp ', 'transfer '))]) == 4
    assert [line.split()[:3] for line in text.splitlines() if 'foundation, corrected' in line] == [
        ['foundation,', 'corrected', '2'], ['foundation,', 'corrected', '4'],
    ]  # fmt: skip
    assert '11 of 12 rows done' in text
    assert 'labels cost 33%' in text
    assert 'F1 of new phases' in text
    assert any(
        item['label'].startswith('F1 of its new phases: precision 100%') for item in headline(data['aggregates'])
    )
    for group in data['aggregates']['strategies']:
        group['new_phases'] = {}
    assert 'F1 of new phases' not in describe_study(data['aggregates'])
