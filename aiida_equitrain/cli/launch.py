"""``aiida-equitrain launch``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_equitrain.cli.completion import DATASETS, JOBS, PHONONS, crystals
from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.group import NamedGroup
from aiida_equitrain.cli.launch_active import cmd_active_learning
from aiida_equitrain.cli.launch_idle import IDLE, refuse_idle
from aiida_equitrain.cli.launch_options import (
    NO_STRATEGY,
    codes,
    common,
    dft_inputs,
    follow_to_the_end,
    foundation_of,
    give_nac,
    go,
    options,
    postprocess,
    show_plan,
    with_recipe,
)
from aiida_equitrain.cli.launch_study import cmd_study
from aiida_equitrain.cli.launch_thermal import cmd_kappa, cmd_qha
from aiida_equitrain.cli.places import figure_to_write
from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo

FILE_TO_WRITE = click.Path(path_type=Path)


@click.group(
    'launch',
    cls=NamedGroup,
    epilog=examples(
        'launch material Si.cif --protocol fast --dry-run', 'launch phonons Si.cif --report si/', 'launch follow 1420'
    ),
)
def cmd_launch() -> None:
    """Run a job with the codes, pseudopotentials and foundation that `aiida-equitrain setup` made.

    With a running daemon the job is submitted and its progress shown; Ctrl-C stops the showing, not the job. Without
    one it runs in this process.
    """


@cmd_launch.command(
    'material',
    epilog=examples(
        'launch material Si.cif --protocol fast --dry-run',
        'launch material NaCl.cif --dataset 88 --reference 86 --report nacl/',
    ),
)
@click.argument('structure', shell_complete=crystals)
@click.option('--dft/--no-dft', default=True, show_default=True, help='Judge the result by DFT phonons.')
@click.option(
    '--dataset',
    shell_complete=DATASETS,
    metavar='PK',
    help='Labelled frames that exist already; nothing is labelled then.',
)
@click.option(
    '--reference',
    shell_complete=PHONONS,
    metavar='PK',
    help='DFT phonons that exist already (PhonopyData); none are computed then.',
)
@options('recipe', 'dry_run')
@options(
    'block', 'symprec', 'training_protocol', 'strategy_or_none', 'engine', 'replay', 'metal', 'seed', 'overrides',
    'report', 'label', 'submit', 'foundation', 'family', 'python', 'pw', 'phonopy', 'born_charges', 'ph', 'nac',
    'postprocess',
)  # fmt: skip
@refuse_idle(*IDLE['material'])
@with_profile
def cmd_material(
    structure: str,
    dft: bool,
    dataset: str | None,
    reference: str | None,
    report: Path | None,
    submit: bool,
    dry_run: bool,
    **chosen: Any,
) -> None:
    """Label, fine-tune, correct the phonons by the labels, and compare: the main job.

    STRUCTURE is a file (CIF, POSCAR, ...) or the PK of a StructureData.
    """

    def build() -> Any:
        from aiida_equitrain.launch import nodes
        from aiida_equitrain.workflows.material.workchain import MaterialWorkChain

        crystal = nodes.load_structure(structure, chosen['block'])
        given = None if reference is None else nodes.load_phonons(reference)
        needs_dft = (dft and given is None) or dataset is None or chosen['born_charges']
        foundation = foundation_of(chosen)
        builder = MaterialWorkChain.get_builder_from_protocol(
            crystal,
            foundation,
            dft=dft,
            dataset=None if dataset is None else nodes.load_dataset(dataset),
            reference=given,
            strategy=None if chosen['strategy'] == NO_STRATEGY else chosen['strategy'],
            engine=chosen['engine'],
            replay=None if chosen['replay'] is None else nodes.load_replay(chosen['replay']),
            seed=chosen['seed'],
            forgetting_dataset=nodes.forgetting_dataset(),
            **codes(chosen, 'python', 'phonopy', *(['pw'] if needs_dft else []), potential=foundation),
            **(codes(chosen, 'ph') if chosen['born_charges'] else {}),
            **postprocess(chosen, foundation),
            **(dft_inputs(chosen) if needs_dft else {}),
            **with_recipe(common(chosen), chosen['recipe']),
        )
        give_nac(builder, chosen, crystal, given, store=not dry_run)
        return builder

    if dry_run:
        show_plan(build)
    else:
        go(build, submit, report, chosen['label'])


@cmd_launch.command(
    'label', epilog=examples('launch label Si.cif --protocol fast --dry-run', 'launch label Si.cif --recipe harmonic')
)
@click.argument('structure', shell_complete=crystals)
@options(
    'block', 'symprec', 'protocol', 'recipe', 'metal', 'seed', 'overrides', 'dry_run', 'label', 'submit', 'foundation',
    'family', 'python', 'pw',
)  # fmt: skip
@refuse_idle(*IDLE['label'])
@with_profile
def cmd_label(structure: str, submit: bool, dry_run: bool, **chosen: Any) -> None:
    """Make frames of a crystal and label them with DFT."""

    def build() -> Any:
        from aiida_equitrain.launch import nodes
        from aiida_equitrain.workflows.label.workchain import LabelWorkChain

        crystal, inputs = nodes.load_structure(structure, chosen['block']), common(chosen)
        foundation = foundation_of(chosen)
        inputs['overrides'] = {'seed': chosen['seed'], **(inputs['overrides'] or {})}
        return LabelWorkChain.get_builder_from_protocol(
            structure=crystal,
            foundation=foundation,
            recipe=chosen['recipe'],
            **codes(chosen, 'python', 'pw', potential=foundation),
            **dft_inputs(chosen),
            **inputs,
        )

    if dry_run:
        show_plan(build)
    else:
        go(build, submit, None, chosen['label'])


@cmd_launch.command(
    'finetune', epilog=examples('launch finetune 88 --strategy lora --report lora/', 'launch finetune 88 --n-seeds 4')
)
@click.argument('dataset', shell_complete=DATASETS)
@click.option(
    '--n-seeds',
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help='Train a committee of so many members, with the seeds from `--seed` on.',
)
@options(
    'training_protocol', 'strategy', 'engine', 'replay', 'seed', 'overrides', 'report', 'label', 'submit', 'foundation',
    'python',
)  # fmt: skip
@with_profile
def cmd_finetune(dataset: str, n_seeds: int, report: Path | None, submit: bool, **chosen: Any) -> None:
    """Fine-tune the foundation on labelled frames (PK of a DatasetData)."""

    def build() -> Any:
        from aiida_equitrain.launch import nodes
        from aiida_equitrain.workflows.committee import CommitteeWorkChain
        from aiida_equitrain.workflows.finetune import FinetuneWorkChain

        foundation = foundation_of(chosen)
        inputs = {
            'foundation': foundation,
            'dataset': nodes.load_dataset(dataset),
            'strategy': chosen['strategy'],
            'engine': chosen['engine'],
            'replay': None if chosen['replay'] is None else nodes.load_replay(chosen['replay']),
            'seed': chosen['seed'],
            'forgetting_dataset': nodes.forgetting_dataset(),
            **codes(chosen, 'python', potential=foundation),
            **common(chosen),
        }
        if n_seeds == 1:
            return FinetuneWorkChain.get_builder_from_protocol(**inputs)
        inputs['overrides'] = {'finetune': inputs['overrides'] or {}}
        return CommitteeWorkChain.get_builder_from_protocol(n_seeds=n_seeds, **inputs)

    go(build, submit, report, chosen['label'])


@cmd_launch.command(
    'phonons',
    epilog=examples(
        'launch phonons Si.cif --report si/',
        'launch phonons 85 --labels 88',
        'launch phonons Si.cif --dft --protocol fast',
    ),
)
@click.argument('structure', shell_complete=crystals)
@click.option('--dft/--potential', default=False, show_default=True, help='What the forces come from.')
@click.option(
    '--labels',
    shell_complete=DATASETS,
    metavar='PK',
    help='DatasetData: correct the phonons of the potential by these frames.',
)
@options(
    'block', 'symprec', 'protocol', 'metal', 'overrides', 'submit', 'foundation', 'family', 'python', 'pw', 'phonopy',
    'born_charges', 'ph', 'nac', 'report', 'label', 'postprocess',
)  # fmt: skip
@refuse_idle(*IDLE['phonons'])
@with_profile
def cmd_phonons(
    structure: str, dft: bool, labels: str | None, report: Path | None, submit: bool, **chosen: Any
) -> None:
    """Compute phonons with a potential (`--foundation LABEL or PK`), or with DFT (`--dft`).

    With `--labels` the potential's force constants are corrected by labelled frames of the same supercell; all results
    are then those of the corrected phonons, with error bars.
    """

    def build() -> Any:
        from aiida_equitrain.launch import nodes
        from aiida_equitrain.setup.defaults import find_code
        from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain

        crystal = nodes.load_structure(structure, chosen['block'])
        if dft:
            source = {**codes(chosen, 'pw'), **dft_inputs(chosen), **postprocess(chosen)}
        else:
            potential = foundation_of(chosen)
            source = {'potential': potential, **codes(chosen, 'python', potential=potential)}
            source |= postprocess(chosen, potential)
            source['labels'] = None if labels is None else nodes.load_dataset(labels)
        if chosen['born_charges']:
            source |= {**codes(chosen, 'ph'), **dft_inputs(chosen), 'born_pw_code': find_code(chosen['pw'])}
        builder = PhononsWorkChain.get_builder_from_protocol(
            crystal, **codes(chosen, 'phonopy'), **source, **common(chosen)
        )
        give_nac(builder, chosen, crystal)
        return builder

    go(build, submit, report, chosen['label'])


@cmd_launch.command('instability', epilog=examples('launch instability GeTe.cif --depth 2 --report gete/'))
@click.argument('structure', shell_complete=crystals)
@click.option('--depth', type=click.IntRange(1), help='Generations of phases.  [default: that of the protocol]')
@click.option(
    '--figure',
    type=FILE_TO_WRITE,
    callback=figure_to_write,
    help='Draw the energy along the modes there (.png, .pdf or .svg).',
)
@click.option('--dft', is_flag=True, help='Repeat the scans of the structure with DFT.')
@click.option('--dft-phases', is_flag=True, help='Find the phases with DFT, for a study to be compared with.')
@options(
    'block', 'symprec', 'protocol', 'metal', 'overrides', 'report', 'label', 'submit', 'foundation', 'family', 'python',
    'pw', 'phonopy', 'postprocess',
)  # fmt: skip
@refuse_idle(*IDLE['instability'])
@with_profile
def cmd_instability(
    structure: str,
    depth: int | None,
    figure: Path | None,
    dft: bool,
    dft_phases: bool,
    report: Path | None,
    submit: bool,
    **chosen: Any,
) -> None:
    """Follow imaginary modes to the phases behind them, with a potential or with DFT (`--dft-phases`).

    STRUCTURE is a file (CIF, POSCAR, ...), the PK of a StructureData, or that of phonons that exist (PhonopyData).
    """

    def build() -> Any:
        from aiida_equitrain.launch import nodes
        from aiida_equitrain.workflows.instability.workchain import InstabilityWorkChain

        inputs, (crystal, phonons) = common(chosen), nodes.load_crystal(structure, chosen['block'])
        potential = None if dft_phases else foundation_of(chosen)
        if depth is not None:
            overrides = inputs['overrides'] or {}
            inputs['overrides'] = {**overrides, 'settings': {**overrides.get('settings', {}), 'max_depth': depth}}
        return InstabilityWorkChain.get_builder_from_protocol(
            crystal,
            phonopy_data=phonons,
            potential=potential,
            **codes(chosen, 'phonopy'),
            **({} if potential is None else codes(chosen, 'python', potential=potential)),
            **postprocess(chosen, potential),
            **({**codes(chosen, 'pw'), **dft_inputs(chosen)} if dft or dft_phases else {}),
            **inputs,
        )

    node = go(build, submit, report, chosen['label'], figure)
    if node is not None and 'tree' in node.outputs and figure is not None:
        from aiida_equitrain.report.instability import save_figure

        save_figure(node, figure)
        echo(f'Energy along the modes: {figure}')


@cmd_launch.command('follow', epilog=examples('launch follow 1420'))
@click.argument('identifier', metavar='PK', shell_complete=JOBS)
@options('report')
@with_profile
def cmd_follow(identifier: str, report: Path | None) -> None:
    """Show the progress of a job that was submitted."""
    from aiida.common.exceptions import NotExistent
    from aiida.orm import ProcessNode

    from aiida_equitrain.launch.nodes import load_node

    try:
        node = load_node(identifier)
    except NotExistent as exception:
        raise click.ClickException(f'there is no job `{identifier}` in this profile') from exception
    if not isinstance(node, ProcessNode):
        raise click.ClickException(
            f'`{identifier}` is of the kind {type(node).__name__}, not a job: `aiida-equitrain list jobs` shows them'
        )
    follow_to_the_end(node, report)


cmd_launch.add_command(cmd_qha)
cmd_launch.add_command(cmd_kappa)
cmd_launch.add_command(cmd_study)
cmd_launch.add_command(cmd_active_learning)
