"""Cut-offs below the table of the pseudopotentials are told of."""

from __future__ import annotations

from typing import Any

import yaml
from aiida import orm

from aiida_equitrain.workflows.cutoffs import cutoff_hints


def inputs_of(family: Any, **stages: float) -> dict[str, Any]:
    """Return inputs of Si and O with a cut-off (Ry) for each stage."""
    pseudos = {name: family.get_pseudo(name) for name in ('Si', 'O')}
    return {
        stage: {'pw': {'pw': {'parameters': orm.Dict({'SYSTEM': {'ecutwfc': value}}), 'pseudos': pseudos}}}
        for stage, value in stages.items()
    }


def test_hints(pseudo_family: Any) -> None:
    """One sentence for stages of one cut-off: the most demanding element, what its table says, the line to paste."""
    (hint,) = cutoff_hints(inputs_of(pseudo_family, label=40.0, dft_phonons=40.0, fine=72.0))
    assert '`ecutwfc` is 40 Ry in `label.pw`, `dft_phonons.pw`, but' in hint
    assert 'recommends 72 Ry (low), 84 Ry (normal), 96 Ry (high) for O' in hint
    line = hint.split('write `')[1].split('`')[0]
    assert yaml.safe_load(line) == {'SYSTEM': {'ecutwfc': 84}}


def test_no_table(pseudo_family: Any) -> None:
    """What nobody recommends, and what nobody has set, is no reason to warn."""
    inputs = inputs_of(pseudo_family, label=20.0)
    pseudos = {'Si': pseudo_family.get_pseudo('Si').clone().store()}
    inputs['label']['pw']['pw']['pseudos'] = pseudos
    assert cutoff_hints(inputs) == []
    inputs = inputs_of(pseudo_family, label=20.0)
    inputs['label']['pw']['pw']['parameters'] = orm.Dict({})
    assert cutoff_hints(inputs) == []
