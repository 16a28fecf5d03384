"""The energy along imaginary modes by DFT: single points on the structures that the potential was scanned on."""

from __future__ import annotations

from typing import Any

from aiida.engine import ToContext
from aiida_quantumespresso.utils.mapping import prepare_process_inputs
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain

from aiida_equitrain.calculations.functions import instability as functions
from aiida_equitrain.workflows.stages import StagedWorkChain


class DftScan(StagedWorkChain):
    """The part of the WorkChain of instabilities that runs pw.x, a few single points at a time.

    A point that fails is left out, and told of at the end: the phases do not depend on it.
    """

    def should_run_dft(self) -> bool:
        """Return whether DFT is wanted at this level."""
        return bool(self.inputs.get('pw')) and self.ctx.level < self.inputs.dft_levels.value

    def setup_dft(self) -> None:
        """Line up the points of this level."""
        self.ctx.points = functions.scan_structures(self.ctx.modes.outputs.frames)
        self.ctx.points_waiting = sorted(self.ctx.points, key=lambda name: int(name.rsplit('_', 1)[1]))
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
                self.ctx.failed_dft.append(node)

    def collect_dft(self) -> None:
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
