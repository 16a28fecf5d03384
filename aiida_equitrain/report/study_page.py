"""The page of a study: figures, a table that sorts, and a page of each crystal that a click on a row opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import page
from .study_collect import COLUMNS

#: Heading and caption of every figure.
FIGURES = {
    'errors': (
        'Error by strategy and number of frames',
        'Means over the materials with bootstrap intervals; small marks: single rows.',
    ),
    'deviations': (
        'Thermal properties',
        'Of the largest number of frames; a mark per material. Linear between −5 and 5 %.',
    ),
    'confusion': ('Which crystals are unstable', 'Columns: what the potential says. Of the largest number of frames.'),
    'cost': ('Cost', 'Core time of the jobs, from provenance; imported labels and phonons cost nothing here.'),
}
#: Columns of the table of one crystal.
OF_MATERIAL = ('strategy', 'n_train', 'seed', 'phonon_mae_thz', 'foundation_phonon_mae_thz', 'symfc_phonon_mae_thz')


def render_study(
    data: Mapping[str, Any], figures: Mapping[str, str], materials: Mapping[str, Mapping[str, str]]
) -> str:
    """Return the page.

    :param data: what ``collect_study`` read.
    :param figures: SVG text by name of figure.
    :param materials: the same by name of the crystal.
    """
    return page.fill(
        'study.html',
        style='study.css',
        script='study.js',
        title=f'A study of {len(data["materials"])} materials',
        subtitle=data['subtitle'],
        warnings=data['warnings'],
        notes=data['notes'],
        headline=data['headline'],
        figures=page.accessible({name: figures[name] for name in FIGURES if name in figures}, FIGURES),
        captions=FIGURES,
        # Columns of which nothing is known are left out.
        columns={key: value for key, value in COLUMNS.items() if any(row.get(key) is not None for row in data['rows'])},
        rows=data['rows'],
        commands=data['commands'],
        # Names are those of strangers: the page itself goes by numbers.
        number_of={name: index for index, name in enumerate(data['materials'])},
        materials={name: _material(item, materials[name]) for name, item in data['materials'].items()},
    )


def _material(material: Mapping[str, Any], figures: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page of one crystal shows."""
    which = '' if material['n_train'] is None else f'{material["n_train"]} training frames, seed {material["seed"]}'
    captions = {
        'bands': ('Phonon bands', f'All strategies over DFT: {which}.'),
        'learning': ('Learning curves', which),
        'wells': ('Energy along imaginary modes', f'With the first potential that has some: {which}.'),
    }
    return {
        'figures': page.accessible(figures, captions),
        'captions': captions,
        'heads': [COLUMNS[key][0] for key in OF_MATERIAL],
        'errors': [[_plain(row.get(key)) for key in OF_MATERIAL] for row in material['rows']],
        'warnings': material['warnings'],
        'provenance': material['provenance'],
    }


def _plain(value: Any) -> Any:
    """Return a whole number as it is written, and anything else as it is."""
    return str(value) if isinstance(value, int) else value
