"""What the parts of a study are given, from its inputs and from what has ended."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common import AttributeDict

from aiida_equitrain.calculations.compare import CompareCalculation
from aiida_equitrain.calculations.functions.study import REFERENCE, match_phases, take_training_frames
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.workflows.base import StagedWorkChain
from aiida_equitrain.workflows.finetune import FinetuneWorkChain, without_labels
from aiida_equitrain.workflows.instability.workchain import InstabilityWorkChain
from aiida_equitrain.workflows.study.rows import SHARED_STAGES, Row


class StudyInputs(StagedWorkChain):
    """Base of the study: the inputs of its parts."""

    def get_output(self, name: str, output: str) -> Any:
        """Return an output of what has ended, such as ``phonons_foundation_NaCl`` or a row, or ``None``."""
        pk = self.ctx.done.get(name)
        node = None if pk is None else orm.load_node(pk)
        return node.outputs[output] if node is not None and output in node.outputs else None

    def get_dataset(self, material: str) -> DatasetData | None:
        """Return the labelled frames of a material, given or made."""
        given = self.inputs.materials[material].get('dataset')
        found: DatasetData | None = given or self.get_output(f'label_{material}', 'dataset')
        return found

    def shared_inputs(self, stage: str, material: str) -> AttributeDict:
        """Return the inputs of what is made once for a material."""
        given = self.inputs.materials[material]
        inputs = AttributeDict({**given[SHARED_STAGES[stage]], 'structure': given['structure']})
        if 'symprec' in given['phonons']:
            inputs.symprec = given['phonons']['symprec']
        if stage == 'label':
            inputs.update(foundation=self.inputs.foundation, python_code=self.inputs.python_code)
            if 'harmonic' in inputs and 'supercell_matrix' in given:
                inputs.phonon_supercell_matrix = given['supercell_matrix']
            if 'postprocess_code' in self.inputs:
                inputs.postprocess_code = self.inputs.postprocess_code
        else:
            inputs.update(self.phonon_inputs(material), phonopy_code=self.inputs.phonopy_code)
            inputs.postprocess_code = self.inputs.get('postprocess_code', self.inputs.python_code)
        if stage == 'phonons_foundation':
            inputs.update(potential=self.inputs.foundation, python_code=self.inputs.python_code)
        elif 'max_concurrent' in given:
            inputs.max_concurrent = given['max_concurrent']
        return inputs

    def phonon_inputs(self, material: str) -> dict[str, Any]:
        """Return what all phonons of a material share."""
        given = self.inputs.materials[material]
        return {name: given[name] for name in ('supercell_matrix', 'nac') if name in given}

    def row_inputs(self, row: Row) -> AttributeDict:
        """Return the inputs of one row."""
        given, strategy = self.inputs.materials[row.material], self.inputs.strategies[row.strategy]
        whole: Any = self.get_dataset(row.material)
        dataset = take_training_frames(whole, orm.Int(row.n_train), orm.Int(row.seed))
        hyperparameters = {**strategy['hyperparameters'], **dict.fromkeys(without_labels(dataset), 0.0)}
        finetune = AttributeDict(self.exposed_inputs(FinetuneWorkChain, namespace='finetune', agglomerate=False))
        train = AttributeDict({**finetune.get('train', {}), 'strategy': orm.Str(row.strategy),
                               'seed': orm.Int(row.seed), 'hyperparameters': orm.Dict(hyperparameters)})  # fmt: skip
        if 'engine' in strategy:
            train.engine = orm.Str(strategy['engine'])
        if row.strategy != 'multihead':
            train.pop('replay', None)
        finetune.train = train
        compare = self.exposed_inputs(CompareCalculation, namespace='compare', agglomerate=False)
        inputs = AttributeDict({**self.phonon_inputs(row.material), 'structure': given['structure'], 'dataset': dataset,
                                'finetune': finetune, 'phonons': given['phonons'], 'compare': compare})  # fmt: skip
        for name in ('foundation', 'python_code', 'phonopy_code', 'postprocess_code'):
            if name in self.inputs:
                inputs[name] = self.inputs[name]
        if 'max_concurrent' in given:
            inputs.max_concurrent = given['max_concurrent']
        # The table has errors at the own cells: a job less for each row.
        inputs.at_dft_cell = orm.Bool(False)
        inputs.foundation_phonons = self.get_output(f'phonons_foundation_{row.material}', 'phonopy_data')
        reference = given.get('reference') or self.get_output(f'phonons_dft_{row.material}', 'phonopy_data')
        if reference is not None:
            inputs.reference = reference
        return inputs

    def may_follow(self, row: Row) -> bool | None:
        """Return whether a row has imaginary modes to follow; ``None`` if they are not followed, or not known."""
        comparison = self.get_output(row.name, 'comparison') if 'instability' in self.inputs else None
        return None if comparison is None else not comparison['candidates']['finetuned']['dynamically_stable']

    def match_phases(self, row: Row) -> orm.Dict | None:
        """Return how the phases of a row compare with those of DFT, if both are known."""
        references = self.inputs.materials[row.material].get('reference_phases')
        followed = self.get_output(f'instability_{row.name}', 'tree') is not None
        if references is None or not (followed or self.may_follow(row) is False):
            return None
        found = self.get_output(f'instability_{row.name}', 'phases') or {}
        structures = {f'{REFERENCE}{name}': node for name, node in references.items()}
        match: orm.Dict = match_phases(self.inputs.instability.settings, **structures, **dict(found))
        return match

    def instability_inputs(self, row: Row) -> AttributeDict:
        """Return the inputs that follow the imaginary modes of one row."""
        inputs = AttributeDict(self.exposed_inputs(InstabilityWorkChain, namespace='instability', agglomerate=False))
        inputs.phonons = AttributeDict({**inputs.get('phonons', {}), 'phonopy_code': self.inputs.phonopy_code})
        node: Any = orm.load_node(self.ctx.done[row.name])
        inputs.update(potential=node.outputs.potential, phonopy_data=node.outputs.phonons.finetuned.phonopy_data)
        for name in ('python_code', 'postprocess_code'):
            if name in self.inputs:
                inputs[name] = self.inputs[name]
        return inputs
