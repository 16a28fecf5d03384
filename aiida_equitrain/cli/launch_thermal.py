"""``aiida-equitrain launch qha`` and ``kappa``: what anharmonic crystals do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_equitrain.cli.completion import crystals
from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.launch_options import codes, common, foundation_of, give_nac, go, options, postprocess
from aiida_equitrain.cli.places import figure_to_write
from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo

FILE_TO_WRITE = click.Path(path_type=Path)
FIGURE = click.option(
    '--figure', type=FILE_TO_WRITE, callback=figure_to_write, help='Draw the curves there (.png, .pdf or .svg).'
)


@click.command('qha', epilog=examples('launch qha MgO.cif --protocol fast --report mgo/'))
@click.argument('structure', shell_complete=crystals)
@FIGURE
@options(
    'block', 'symprec', 'protocol', 'overrides', 'report', 'label', 'submit', 'foundation', 'python', 'postprocess'
)
@with_profile
def cmd_qha(structure: str, figure: Path | None, report: Path | None, submit: bool, **chosen: Any) -> None:
    """Compute thermal expansion in the quasi-harmonic approximation, with a potential.

    STRUCTURE is a file (CIF, POSCAR, ...) or the PK of a StructureData.
    """
    from aiida_equitrain.report import thermal

    def build() -> Any:
        from aiida_equitrain.launch import nodes

        return _builder('equitrain.qha', nodes.load_structure(structure, chosen['block']), chosen)

    node = go(build, submit, report, chosen['label'], figure)
    _draw(node, 'qha', thermal.save_qha, figure)


@click.command(
    'kappa',
    epilog=examples(
        'launch kappa Si.cif --protocol fast --report si/', 'launch kappa 1450 --foundation nequix-oam-1-pft'
    ),
)
@click.argument('structure', shell_complete=crystals)
@FIGURE
@options(
    'block', 'symprec', 'protocol', 'overrides', 'report', 'label', 'submit', 'foundation', 'python', 'nac',
    'postprocess',
)  # fmt: skip
@with_profile
def cmd_kappa(structure: str, figure: Path | None, report: Path | None, submit: bool, **chosen: Any) -> None:
    """Compute the lattice thermal conductivity with phono3py, with a potential.

    STRUCTURE is a file (CIF, POSCAR, ...), the PK of a StructureData, or that of phonons that exist (PhonopyData), such
    as DFT's or those that labels corrected: these are the second order, in their cell; the potential gives the third.
    """
    from aiida_equitrain.report import thermal

    def build() -> Any:
        from aiida_equitrain.launch import nodes
        from aiida_equitrain.setup.checks import phono3py_hint

        crystal, phonons = nodes.load_crystal(structure, chosen['block'])
        builder = _builder('equitrain.kappa', crystal if phonons is None else None, chosen, phonopy_data=phonons)
        give_nac(builder, chosen, crystal)
        given = builder._inputs(prune=True)
        for name in ('python_code', 'postprocess_code'):
            if name in given and (hint := phono3py_hint(given[name])):
                echo(f'Warning: {hint}', err=True, fg='yellow')
        return builder

    node = go(build, submit, report, chosen['label'], figure)
    _draw(node, 'kappa', thermal.save_kappa, figure)


def _builder(name: str, crystal: Any, chosen: dict[str, Any], **given: Any) -> Any:
    from aiida.plugins import WorkflowFactory

    potential = foundation_of(chosen)
    process: Any = WorkflowFactory(name)
    return process.get_builder_from_protocol(
        crystal,
        potential,
        **codes(chosen, 'python', potential=potential),
        **postprocess(chosen, potential),
        **given,
        **common(chosen),
    )


def _draw(node: Any, output: str, save: Any, figure: Path | None) -> None:
    if node is not None and output in node.outputs and figure is not None:
        save(node, figure)
        echo(f'Curves: {figure}')
