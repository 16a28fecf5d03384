"""Phases by DFT: the energy along imaginary modes, which a potential is compared with, and relaxations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiida.engine import ToContext
from aiida_quantumespresso.utils.mapping import prepare_process_inputs
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.calculations.functions import instability_dft as functions
from aiida_equitrain.workflows.stages import StagedWorkChain


class DftPhases(StagedWorkChain):
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
        self.ctx.points_waiting = in_order(self.ctx.points)
        self.ctx.points_done = {}

    def should_run_dft_points(self) -> bool:
        """Return whether points are left."""
        return bool(self.ctx.points_waiting)

    def run_dft_points(self) -> Any:
        """Submit as many points as may run at a time."""
        number = self.inputs.max_concurrent.value
        now, self.ctx.points_waiting = self.ctx.points_waiting[:number], self.ctx.points_waiting[number:]
        self.ctx.points_running = now
        futures = {}
        for name in now:
            inputs = self.stage_inputs(PwBaseWorkChain, 'pw')
            inputs.pw.structure = self.ctx.points[name]
            label = f'dft_{self.ctx.level}_{name}'
            futures[label] = self.launch(PwBaseWorkChain, prepare_process_inputs(PwBaseWorkChain, inputs), label)
        return ToContext(**futures)

    def inspect_dft_points(self) -> None:
        """Keep what has finished."""
        for name in self.ctx.points_running:
            node = self.ctx[f'dft_{self.ctx.level}_{name}']
            if node.is_finished_ok:
                self.ctx.points_done[name] = node.outputs.output_parameters
            else:
                self.report(f'WARNING: {name} failed, see {node.process_label}<{node.pk}>: {node.exit_message}')
                self.ctx.failed_dft.append(node)

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
        self.ctx.starts_waiting = in_order(self.ctx.starting)
        self.ctx.starts_done = {}

    def should_run_dft_relax(self) -> bool:
        """Return whether structures are left."""
        return bool(self.ctx.starts_waiting)

    def run_dft_relax(self) -> Any:
        """Relax as many structures, with their cells, as may be at a time."""
        number = self.inputs.max_concurrent.value
        now, self.ctx.starts_waiting = self.ctx.starts_waiting[:number], self.ctx.starts_waiting[number:]
        self.ctx.starts_running = now
        futures = {}
        for name in now:
            inputs = self.stage_inputs(PwRelaxWorkChain, 'pw_relax')
            inputs.structure = self.ctx.starting[name]
            label = f'dft_relax_{self.ctx.level}_{name}'
            futures[label] = self.launch(PwRelaxWorkChain, prepare_process_inputs(PwRelaxWorkChain, inputs), label)
        return ToContext(**futures)

    def inspect_dft_relax(self) -> None:
        """Keep what has relaxed."""
        for name in self.ctx.starts_running:
            node = self.ctx[f'dft_relax_{self.ctx.level}_{name}']
            if node.is_finished_ok:
                self.ctx.starts_done[f'structure_{name}'] = node.outputs.output_structure
                self.ctx.starts_done[f'parameters_{name}'] = node.outputs.output_parameters
            else:
                self.report(f'WARNING: {name} failed, see {node.process_label}<{node.pk}>: {node.exit_message}')
                self.ctx.failed_dft_relax.append(node)

    def collect_dft_relax(self) -> None:
        """Take over the relaxed structures, as a potential's would be."""
        self.ctx.relaxed = functions.take_dft_relaxations(self.ctx.starts, **self.ctx.starts_done)
        self.out(f'relaxed.level_{self.ctx.level}', self.ctx.relaxed)


def in_order(points: Iterable[str]) -> list[str]:
    """Return names such as ``point_10`` by their numbers."""
    return sorted(points, key=lambda name: int(name.rsplit('_', 1)[1]))
