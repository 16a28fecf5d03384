"""Phases by DFT: the energy along imaginary modes, which a potential is compared with, and relaxations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aiida_quantumespresso.utils.mapping import prepare_process_inputs
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.calculations.functions import instability_dft as functions
from aiida_equitrain.query.failures import failure_of
from aiida_equitrain.workflows.base import StagedWorkChain
from aiida_equitrain.workflows.queue import JobQueue


class DftPhases(StagedWorkChain, JobQueue):
    """The part of the WorkChain of instabilities that runs pw.x, a few calculations at a time.

    One that fails is left out, and told of at the end.
    """

    def should_run_dft(self) -> bool:
        """Return whether DFT is wanted at this level: at each where there is no potential."""
        compared = bool(self.inputs.get('pw')) and self.ctx.level < self.inputs.dft_levels.value
        return compared or 'potential' not in self.inputs

    def setup_dft(self) -> None:
        """Line up the points of this level."""
        self.ctx.points = functions.scan_structures(self.ctx.modes.outputs.frames)
        self.line_up(in_order(self.ctx.points))
        self.ctx.points_done = {}

    def run_dft_points(self) -> None:
        """Compute as many points as may be at a time."""

        def inputs_of(name: str) -> Any:
            inputs = self.stage_inputs(PwBaseWorkChain, 'pw')
            inputs.pw.structure = self.ctx.points[name]
            return inputs

        self.run_some(PwBaseWorkChain, inputs_of, 'dft')

    def inspect_dft_points(self) -> None:
        """Keep what has finished."""
        for name, node in self.inspect_some(self.ctx.failed_dft):
            self.ctx.points_done[name] = node.outputs.output_parameters

    def collect_dft(self) -> None:
        """Take DFT's energies for the scan."""
        self.ctx.energies = functions.take_dft_scan(self.ctx.modes.outputs.frames, **self.ctx.points_done)
        self.out(f'scan.level_{self.ctx.level}', self.ctx.energies)

    def compare_dft(self) -> None:
        """Compare the curves."""
        compared = functions.compare_with_dft(
            self.ctx.modes.outputs.modes,
            self.ctx.modes.outputs.frames,
            self.ctx.wells,
            self.inputs.settings,
            **self.ctx.points_done,
        )
        self.out(f'dft.level_{self.ctx.level}', compared)
        for entry, told in zip(self.ctx.modes.outputs.modes['entries'], compared['entries'], strict=True):
            if told['errors']:
                error = told['errors']['energy_mae_mev_per_atom']
                where = entry['qpoint_name'] or entry['qpoint_text']
                self.report(
                    f'{entry["parent"]}, {where} {entry["irrep"]}: {error:.2f} meV/atom from DFT along the mode'
                )

    def setup_dft_relax(self) -> None:
        """Line up the lowest structures of each side of each mode."""
        self.ctx.starting = functions.scan_structures(self.ctx.starts)
        self.line_up(in_order(self.ctx.starting))
        self.ctx.starts_done = {}

    def run_dft_relax(self) -> None:
        """Relax as many structures, with their cells, as may be at a time."""

        def inputs_of(name: str) -> Any:
            inputs = self.stage_inputs(PwRelaxWorkChain, 'pw_relax')
            inputs.structure = self.ctx.starting[name]
            return inputs

        self.run_some(PwRelaxWorkChain, inputs_of, 'dft_relax')

    def inspect_dft_relax(self) -> None:
        """Keep what has relaxed."""
        for name, node in self.inspect_some(self.ctx.failed_dft_relax):
            self.ctx.starts_done[f'structure_{name}'] = node.outputs.output_structure
            self.ctx.starts_done[f'parameters_{name}'] = node.outputs.output_parameters

    def collect_dft_relax(self) -> None:
        """Take over the relaxed structures, as a potential's would be."""
        self.ctx.relaxed = functions.take_dft_relaxations(self.ctx.starts, **self.ctx.starts_done)
        self.out(f'relaxed.level_{self.ctx.level}', self.ctx.relaxed)

    def run_some(self, process: Any, inputs_of: Callable[[str], Any], prefix: str) -> None:
        """Run as many of what waits as may be at a time.

        :param prefix: of the names of the calls, before the level.
        """

        def start(name: str) -> Any:
            given = inputs_of(name)
            label = self.in_second_try(name, given, 'pw' if 'pw' in given else None)
            return self.launch(process, prepare_process_inputs(process, given), f'{prefix}_{self.ctx.level}_{label}')

        self.run_jobs(start)

    def inspect_some(self, failed: list[Any]) -> Iterator[tuple[str, Any]]:
        """Yield what has finished well, by its name; tell of the others, and add them to ``failed``."""
        for name, node in self.ended():
            if node.is_finished_ok:
                yield name, node
            else:
                self.report(f'WARNING: {name} failed, see {failure_of(node)}')
                failed.append(node)


def in_order(points: Iterable[str]) -> list[str]:
    """Return names such as ``point_10`` by their numbers."""
    return sorted(points, key=lambda name: int(name.rsplit('_', 1)[1]))
