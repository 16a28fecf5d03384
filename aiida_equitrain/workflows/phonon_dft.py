"""What phonons take from DFT: forces on displaced supercells, Born charges."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.engine import ExitCode, ToContext
from aiida_quantumespresso.utils.mapping import prepare_process_inputs
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain

from aiida_equitrain.calculations.functions import phonons as functions
from aiida_equitrain.workflows.born_charges import BornChargesWorkChain
from aiida_equitrain.workflows.common import may_use_gamma_trick
from aiida_equitrain.workflows.stages import StagedWorkChain


class DftForces(StagedWorkChain):
    """The part of the phonon WorkChain that runs one ``PwBaseWorkChain`` for each supercell, a few at a time."""

    def take_phonons(self, phonopy_data: Any) -> None:
        """Go on with displacements and forces."""
        raise NotImplementedError

    def should_run_dft_forces(self) -> bool:
        """Return whether supercells are left."""
        return bool(self.ctx.waiting)

    def run_dft_forces(self) -> Any:
        """Submit as many supercells as may run at a time."""
        number = self.inputs.max_concurrent.value
        now, self.ctx.waiting = self.ctx.waiting[:number], self.ctx.waiting[number:]
        self.ctx.running = now
        futures = {}
        for label in now:
            inputs = self.stage_inputs(PwBaseWorkChain, 'pw')
            for name in ('kpoints_distance', 'kpoints_force_parity'):
                inputs.pop(name, None)
            inputs.kpoints = self.ctx.kpoints
            inputs.pw.structure = self.ctx.supercells[label]
            if may_use_gamma_trick(self.ctx.kpoints, inputs.pw.parameters):
                inputs.pw.settings = {**dict(inputs.pw.get('settings', {})), 'GAMMA_ONLY': True}
            futures[f'dft_{label}'] = self.launch(
                PwBaseWorkChain, prepare_process_inputs(PwBaseWorkChain, inputs), label
            )
        return ToContext(**futures)

    def inspect_dft_forces(self) -> ExitCode | None:
        """Attach what has finished; stop if anything failed, as phonopy needs every displacement."""
        failed = []
        for label in self.ctx.running:
            node = self.ctx[f'dft_{label}']
            if not node.is_finished_ok:
                failed.append(node)
                continue
            self.out(f'supercells_forces.{label}', node.outputs.output_trajectory)
            if not np.isfinite(node.outputs.output_trajectory.get_array('forces')).all():
                return self.fail('ERROR_FORCES_NOT_FINITE', node)
        if failed:
            return self.fail('ERROR_DFT_FAILED', failed[0], failed=len(failed), total=len(self.ctx.supercells))
        return None

    def collect_dft_forces(self) -> None:
        """Collect the forces of DFT."""
        forces = {
            label.replace('supercell', 'forces'): self.ctx[f'dft_{label}'].outputs.output_trajectory
            for label in self.ctx.supercells
        }
        self.take_phonons(functions.collect_dft_forces(self.ctx.preprocess, **forces))


class BornCharges(StagedWorkChain):
    """The part of a WorkChain that computes ``nac`` for its phonons, when the namespace ``born_charges`` is given."""

    def should_run_born_charges(self) -> bool:
        """Return whether Born charges are wanted."""
        return bool(self.inputs.get('born_charges'))

    def run_born_charges(self) -> Any:
        """Compute Born charges and dielectric tensor of the structure as it was given: all sides then share them."""
        inputs = self.stage_inputs(BornChargesWorkChain, 'born_charges')
        inputs.structure = self.inputs.structure
        inputs.symprec = self.ctx.symprec
        return ToContext(born_charges=self.launch(BornChargesWorkChain, inputs, 'born_charges'))

    def inspect_born_charges(self) -> ExitCode | None:
        """Take them over."""
        node = self.ctx.born_charges
        if 'nac' in node.outputs:
            self.ctx.nac = node.outputs.nac
            self.out('nac', self.ctx.nac)
        return None if node.is_finished_ok else self.fail('ERROR_BORN_CHARGES_FAILED', node)
