"""What the subcommands of ``aiida-equitrain launch`` share: options, and how a job is started and followed."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import yaml

from aiida_equitrain.cli.completion import CODES, DATASETS, PHONONS, POTENTIALS
from aiida_equitrain.cli.numbers import FiniteRange
from aiida_equitrain.cli.places import folder_to_write
from aiida_equitrain.cli.terminal import echo
from aiida_equitrain.common.names import Engine
from aiida_equitrain.common.strategies import ENGINES

STRATEGIES = list(ENGINES)
PROTOCOLS = ['fast', 'balanced', 'stringent', 'paper']
#: Protocols where there is fine-tuning.
TRAINING_PROTOCOLS = [*PROTOCOLS, 'guided']
#: No fine-tuning at all.
NO_STRATEGY = 'none'
#: What every generator of random numbers takes.
SEED = click.IntRange(0, 2**32 - 1)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(path_type=Path)

#: Characters of the label of a node.
LONGEST_LABEL = 255
#: Options of jobs, and their names in `metadata.options`.
OF_JOBS = {'account': 'account', 'queue': 'queue_name', 'qos': 'qos', 'walltime': 'max_wallclock_seconds',
           'memory': 'max_memory_kb'}  # fmt: skip
#: What the protocols are, by the name of the command.
PROTOCOL_FILES = files('aiida_equitrain').joinpath('workflows', 'protocols')
#: All of them, for the commands.
SCHEDULER = (*OF_JOBS, 'gpu_options')
KILOBYTES = {'KB': 1, 'MB': 1000, 'GB': 1000**2, 'TB': 1000**3}


def seconds(_ctx: Any, _param: Any, value: str | None) -> int | None:
    """Return a time of hours, minutes and seconds, or of minutes alone, in seconds."""
    if value is None:
        return None
    match = re.fullmatch(r'(?:(?:(\d{1,3})-)?(\d{1,4}):)?(\d{1,4}):(\d\d)', value)
    if match is None:
        raise click.BadParameter('give hours, minutes and seconds, such as 2:00:00; minutes and seconds as 30:00')
    days, hours, minutes, rest = (int(item or 0) for item in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def kilobytes(_ctx: Any, _param: Any, value: str | None) -> int | None:
    """Return a size with its unit in kilobytes."""
    if value is None:
        return None
    match = re.fullmatch(r'(\d{1,9})\s*([KMGT]B)', value.upper())
    if match is None:
        raise click.BadParameter('give a number with its unit, such as 8GB or 500MB')
    return int(match.group(1)) * KILOBYTES[match.group(2)]


class Protocol(click.Option):
    """The protocol, explained in the words of the file that defines those of the command."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option and what each protocol means; the file is read only for that."""
        record = super().get_help_record(ctx)
        path = PROTOCOL_FILES.joinpath(f'{str(ctx.info_name).replace("-", "_")}.yaml')
        if record is None or not path.is_file():
            return record
        known = yaml.safe_load(path.read_text(encoding='utf-8'))
        choices = self.type.choices if isinstance(self.type, click.Choice) else ()
        words = [f'{name}: {known["protocols"][name]["description"]}' for name in choices if name in known['protocols']]
        return record[0], f'{" ".join(words)}  [default: {known["default_protocol"]}]'


#: Options by the name of their parameter.
OPTIONS: dict[str, Callable[[Any], Any]] = {
    'protocol': click.option('--protocol', cls=Protocol, type=click.Choice(PROTOCOLS), default='balanced'),
    'training_protocol': click.option(
        '--protocol', cls=Protocol, type=click.Choice(TRAINING_PROTOCOLS), default='balanced'
    ),
    'block': click.option(
        '--block', metavar='NAME_OR_NUMBER', help='Which structure of a file that holds several; numbers from 1 on.'
    ),
    'symprec': click.option(
        '--symprec',
        type=FiniteRange(min=0, min_open=True),
        help='Tolerance of the space group, Å.  [default: that of the protocol]',
    ),
    'engine': click.option(
        '--engine', type=click.Choice([item.value for item in Engine]), help='[default: the first with the strategy]'
    ),
    'replay': click.option(
        '--replay',
        shell_complete=DATASETS,
        metavar='PK',
        help='For multihead: DatasetData, or TrajectoryData to label.',
    ),
    'strategy': click.option('--strategy', type=click.Choice(STRATEGIES), default='l2-tsp', show_default=True),
    'strategy_or_none': click.option(
        '--strategy',
        type=click.Choice([*STRATEGIES, NO_STRATEGY]),
        default='l2-tsp',
        show_default=True,
        help='Of the fine-tuning; `none`: train nothing, correct the phonons by the labels.',
    ),
    'metal': click.option('--metal/--insulator', default=False, show_default=True, help='Occupations of DFT.'),
    'seed': click.option('--seed', type=SEED, default=1, show_default=True, help='Of rattling and training.'),
    'overrides': click.option('--overrides', type=FILE, help='YAML file of inputs in the nesting of the ports.'),
    'report': click.option(
        '--report', type=FOLDER, callback=folder_to_write, help='Write the report there at the end.'
    ),
    'recipe': click.option(
        '--recipe',
        type=click.Choice(['paper', 'harmonic', 'mixed']),
        help='Of the frames: to bend the potential, to pin the phonons, or both.  [default: that of the protocol]',
    ),
    'dry_run': click.option(
        '--dry-run', is_flag=True, help='Submit nothing: print what DFT would compute, and an estimate of its cost.'
    ),
    'label': click.option('--label', metavar='TEXT', help='Of the job.  [default: crystal, potential, what is done]'),
    'submit': click.option('--submit', is_flag=True, help='Hand it to the daemon and return at once.'),
    'foundation': click.option(
        '--foundation',
        shell_complete=POTENTIALS,
        metavar='LABEL_OR_FILE',
        help='Potential: label, PK, model file.  [default: the best here]',
    ),
    'family': click.option('--family', metavar='LABEL', help='Pseudopotentials.  [default: those of the set-up]'),
    'python': click.option(
        '--python', shell_complete=CODES, metavar='LABEL', help='Code: Python.  [default: the one for the foundation]'
    ),
    'pw': click.option('--pw', shell_complete=CODES, default='pw', show_default=True, help='Code: pw.x.'),
    'ph': click.option('--ph', shell_complete=CODES, default='ph', show_default=True, help='Code: ph.x.'),
    'born_charges': click.option('--born-charges', is_flag=True, help='Of a polar crystal: compute them with ph.x.'),
    'nac': click.option(
        '--nac',
        shell_complete=PHONONS,
        metavar='PK',
        help='Born charges and dielectric tensor of a polar crystal: those of `data import`, or of phonons with them.',
    ),
    'account': click.option('--account', metavar='NAME', help='Of all jobs; for the scheduler, as the next ones.'),
    'queue': click.option('--queue', metavar='NAME', help='Queue or partition of all jobs.'),
    'qos': click.option('--qos', metavar='NAME', help='Quality of service of all jobs.'),
    'walltime': click.option(
        '--walltime', metavar='H:MM:SS', callback=seconds, help="Of all jobs.  [default: the scheduler's own]"
    ),
    'memory': click.option(
        '--memory', metavar='SIZE', callback=kilobytes, help="Of all jobs, such as 8GB.  [default: the scheduler's own]"
    ),
    'gpu_options': click.option(
        '--gpu-options', metavar='TEXT', help='For jobs on a GPU (`device: cuda`), such as `#SBATCH --gres=gpu:1`.'
    ),
    'postprocess': click.option(
        '--postprocess',
        metavar='LABEL',
        help='Code: a Python for what looks at phonons, such as python@localhost.  [default: that of --python]',
    ),
    'phonopy': click.option(
        '--phonopy', shell_complete=CODES, default='phonopy', show_default=True, help='Code: phonopy.'
    ),
}


def options(*names: str) -> Callable[[Any], Any]:
    """Return a decorator that adds options of :data:`OPTIONS` in the given order; what is submitted has a scheduler."""

    def decorate(function: Any) -> Any:
        for name in reversed((*names, *(SCHEDULER if 'submit' in names else ()))):
            function = OPTIONS[name](function)
        return function

    return decorate


def foundation_of(chosen: dict[str, Any]) -> Any:
    """Return the potential of the options, and tell which it is.

    :raises ValueError: with a sentence, if it cannot be used; ``NotExistent`` if there is none.
    """
    from aiida_equitrain.launch.foundation import take_foundation

    node, lines = take_foundation(chosen)
    for line in lines:
        echo(line)
    return node


def codes(chosen: dict[str, Any], *names: str, potential: Any = None) -> dict[str, Any]:
    """Return the codes of the options ``names`` as ``<name>_code``.

    :param potential: decides which Python it is, where none is named.
    """
    from aiida_equitrain.setup.defaults import find_code, python_label

    return {f'{name}_code': find_code(chosen[name] or python_label(potential)) for name in names}


def postprocess(chosen: dict[str, Any], potential: Any = None) -> dict[str, Any]:
    """Return the Python that looks at phonons: the one that is named, else one where the potential's cannot."""
    from aiida_equitrain.setup.defaults import find_code, postprocess_code

    named = chosen.get('postprocess') or (chosen['python'] if potential is None else None)
    if named is not None:
        return {'postprocess_code': find_code(named)}
    return postprocess_code(potential)


def dft_inputs(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return family and occupations."""
    from aiida_equitrain.setup.defaults import default_family

    kind = 'metal' if chosen['metal'] else 'insulator'
    return {'pseudo_family': chosen['family'] or default_family().label, 'electronic_type': kind}


def give_nac(builder: Any, chosen: dict[str, Any], structure: Any, reference: Any = None, store: bool = True) -> None:
    """Give a job the node of `--nac`, else that of a reference with Born charges: all sides need what it has.

    :param store: whether what is made of phonons is stored.
    :raises ValueError: with a sentence, if it cannot be that of the structure; ``NotExistent`` if there is none.
    """
    from aiida_equitrain.launch import nodes

    if chosen['nac'] is not None:
        builder.nac = nodes.load_nac(chosen['nac'], structure, chosen['symprec'], store)
    elif reference is not None and reference.has_nac_parameters() and not chosen['born_charges']:
        echo(f'Born charges and dielectric tensor: those of the reference (PK {reference.pk}).')
        builder.nac = nodes.nac_of(reference, structure, chosen['symprec'], store)


def common(chosen: dict[str, Any], stage: str | None = None) -> dict[str, Any]:
    """Return protocol and overrides.

    :param stage: part of the overrides where the tolerance of the space group stands; by default at the top.
    :raises ValueError: if it is given twice, with different values.
    """
    from aiida_equitrain.launch.nodes import load_overrides

    overrides = with_options(load_overrides(chosen['overrides']), chosen)
    symprec = chosen.get('symprec')
    if symprec is not None:
        overrides = dict(overrides or {})
        part = overrides if stage is None else dict(overrides.get(stage) or {})
        if part.get('symprec', symprec) != symprec:
            raise ValueError(
                f'`--symprec` is {symprec:g}, but `symprec` of the overrides {part["symprec"]:g}: give one'
            )
        part['symprec'] = symprec
        if stage is not None:
            overrides[stage] = part
    return {'protocol': chosen['protocol'], 'overrides': overrides}


def with_options(overrides: dict[str, Any] | None, chosen: dict[str, Any]) -> dict[str, Any] | None:
    """Return the overrides with the options of jobs that the command names, which go before its block `options`."""
    named = {key: chosen[name] for name, key in OF_JOBS.items() if chosen.get(name) is not None}
    gpu = chosen.get('gpu_options')
    if not named and gpu is None:
        return overrides
    merged = dict(overrides or {})
    if named:
        merged['options'] = {**(merged.get('options') or {}), **named}
    if gpu is not None:
        merged['gpu'] = {**(merged.get('gpu') or {}), 'custom_scheduler_commands': gpu}
    return merged


def with_recipe(inputs: dict[str, Any], recipe: str | None) -> dict[str, Any]:
    """Return protocol and overrides of :func:`common` with the recipe of the labels of the main job."""
    if recipe is None:
        return inputs
    overrides = dict(inputs['overrides'] or {})
    overrides['label'] = {**(overrides.get('label') or {}), 'recipe': recipe}
    return {**inputs, 'overrides': overrides}


def show_plan(build: Callable[[], Any]) -> None:
    """Build the inputs, and print what DFT would compute.

    :raises click.ClickException: with the sentence with which the job would be refused.
    """
    from aiida.common.exceptions import InputValidationError, NotExistent

    from aiida_equitrain.launch.plan import describe_plan, plan

    try:
        builder = build()
        show_hints(builder)
        found = plan(builder, tell=lambda line: echo(line, err=True))
    except (ValueError, NotExistent, InputValidationError) as exception:
        raise click.ClickException(str(exception)) from exception
    echo(describe_plan(found), lines=True)


def show_hints(builder: Any) -> None:
    """Print what is allowed, but may not be meant."""
    from aiida_equitrain.workflows.checks import symmetry_hints
    from aiida_equitrain.workflows.cutoffs import cutoff_hints

    inputs = builder._inputs(prune=True)
    for hint in (*symmetry_hints(inputs), *cutoff_hints(inputs)):
        echo(f'Warning: {hint}', err=True, fg='yellow')


def refuse_at_the_end(given: Path | None, option: str, is_made: str, what: str) -> None:
    """Refuse what is written at the end of a job that is only submitted.

    :raises click.UsageError: with the remedy.
    """
    if given is not None:
        raise click.UsageError(
            f'`{option}` is {is_made} at the end of the job, which `--submit` does not wait for: leave one out, and '
            f'write the {what} afterwards with `aiida-equitrain report PK -o DIR`'
        )


def go(
    build: Callable[[], Any],
    submit: bool,
    report: Path | None = None,
    label: str | None = None,
    figure: Path | None = None,
) -> Any:
    """Build the inputs, start the job where it can run, show its progress, and write the report.

    :param label: of the job; by default one that says what it is about.
    :param figure: that the command draws at the end.
    :returns: the job if it has ended, ``None`` if it is submitted or goes on.
    :raises click.ClickException: with a sentence, if the inputs are wrong or the job fails.
    """
    from aiida.common.exceptions import InputValidationError, NotExistent

    from aiida_equitrain.cli.follow import Display
    from aiida_equitrain.launch.in_process import run_here
    from aiida_equitrain.launch.labels import label_of
    from aiida_equitrain.launch.run import daemon_problem
    from aiida_equitrain.launch.slots import slots_problem

    if submit:
        refuse_at_the_end(figure, '--figure', 'drawn', 'figures')
        refuse_at_the_end(report, '--report', 'written', 'report')
    problem = daemon_problem()
    if submit and problem:
        raise click.ClickException(f'nothing can be submitted: {problem}')
    try:
        builder = build()
        show_hints(builder)
        builder.metadata.label = (label_of(builder) if label is None else label)[:LONGEST_LABEL]
        if problem is None:
            from aiida.engine import submit as submit_to_daemon

            if no_room := slots_problem(builder):
                raise ValueError(no_room)
            node = submit_to_daemon(builder)
        else:
            echo(f'Running in this process, as {problem}; Ctrl-C ends the job.')
            with Display() as display:
                node = run_here(builder, display)
    except (ValueError, NotExistent, InputValidationError) as exception:
        raise click.ClickException(str(exception)) from exception
    if problem is None:
        echo(f'Submitted {node.process_label} {node.pk}.')
        if submit:
            echo(f'`aiida-equitrain launch follow {node.pk}` shows how far it is.')
            return None
    follow_to_the_end(node, report)
    return node if node.is_terminated else None


def follow_to_the_end(node: Any, report: Path | None) -> None:
    """Show the progress of a job until it ends; then the report, or how it ended.

    :raises click.ClickException: if the job failed.
    """
    from aiida_equitrain.cli.follow import Display
    from aiida_equitrain.cli.report import show_report
    from aiida_equitrain.cli.results import show_result
    from aiida_equitrain.launch.run import describe_end, follow

    try:
        if not node.is_terminated:
            with Display(by_daemon=True) as display:
                follow(node, display)
    except KeyboardInterrupt:
        echo()
        echo(f'The job goes on. `aiida-equitrain launch follow {node.pk}` shows its progress again, '
                   f'`verdi process kill {node.pk}` ends it.')  # fmt: skip
        return
    if report is not None:
        show_report(node, report)
    if not node.is_finished_ok:
        raise click.ClickException(
            f'{node.process_label} {node.pk} {describe_end(node)} (`verdi process report {node.pk}`)'
        )
    if report is None:
        if show_result(node):
            echo()
        echo(f'{node.process_label} {node.pk} is done: `aiida-equitrain show {node.pk}` says what it made, '
             f'`aiida-equitrain export {node.pk} DIR` writes its files.')  # fmt: skip
