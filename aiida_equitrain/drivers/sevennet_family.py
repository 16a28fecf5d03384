"""SevenNet: its checkpoints and its calculator. A helper of ``potential_loader.py``.

SevenNet (0.13) computes in single precision only: its one-hot vectors and its graphs are always float32. Here these are
brought to the precision of the weights, and so the whole model runs in float64 where that is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sevenn
import torch
from ase.calculators.calculator import Calculator, all_changes
from sevenn import _keys as keys
from sevenn.atom_graph_data import AtomGraphData
from sevenn.calculator import SevenNetCalculator
from sevenn.checkpoint import SevenNetCheckpoint
from sevenn.train.dataload import unlabeled_atoms_to_graph
from sevenn.util import dtype_correct

#: Settings of a training that are of no use with the model, and may tell of other people's computers.
OF_TRAINING = ('continue', 'csv_log', 'error_record', 'load_dataset_path', 'load_validset_path', 'load_testset_path')


def read_model(path: str | Path, device: str = 'cpu', head: str | None = None) -> Any:
    """Return the model of a checkpoint, in the precision of its tensors; this runs what is in the file.

    :param head: there is none to choose; accepted for the sake of the other families.
    """
    checkpoint = SevenNetCheckpoint(str(path))
    state = checkpoint.model_state_dict
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # some of SevenNet's tensors are so anyway
    try:
        model = checkpoint.build_model()
    finally:
        torch.set_default_dtype(before)
    if any(item.dtype == torch.float64 for item in state.values()):
        model.to(torch.float64).load_state_dict(state)
    model.config = checkpoint.config
    for module in model.modules():
        if type(module).__name__ == 'OnehotEmbedding':
            module.register_forward_hook(_cast_one_hot)
    return model.to(device)


def _cast_one_hot(module: Any, _: Any, data: Any) -> Any:
    """Bring the one-hot vectors to the precision of the graph, which is that of the weights."""
    for name in (module.key_output, module.key_additional_output):
        if name is not None:
            data[name] = data[name].to(data[keys.EDGE_VEC].dtype)
    return data


def write_checkpoint(model: Any, file: Any) -> None:
    """Write a model as a checkpoint that SevenNet, and :func:`read_model`, load.

    :param file: path, or stream of bytes.
    """
    # The tensors are in the order of this version of SevenNet, whatever the version of the foundation was.
    config = {name: value for name, value in model.config.items() if name not in OF_TRAINING}
    state = {name: item.detach().cpu().clone() for name, item in model.state_dict().items()}
    content = {'model_state_dict': state, 'config': {**config, 'version': sevenn.__version__}, 'epoch': 0}
    torch.save({**content, 'optimizer_state_dict': {}, 'scheduler_state_dict': {}}, file)


def make_calculator(model: Any, device: str, dtype: str) -> Any:
    """Return an ASE calculator, SevenNet's own or one like it in double precision."""
    kind = SevenNetCalculator if dtype == 'float32' else DoubleCalculator
    return kind(model, file_type='model_instance', device=device)


class DoubleCalculator(SevenNetCalculator):  # type: ignore[misc,unused-ignore]
    """SevenNet's calculator with graphs in double precision."""

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Compute energy, forces and stress."""
        Calculator.calculate(self, atoms, properties, system_changes)
        graph = unlabeled_atoms_to_graph(atoms, self.cutoff, with_shift=False)
        data = AtomGraphData(
            **{
                name: value if name == keys.INFO else dtype_correct(value, torch.float64)
                for name, value in graph.items()
            }
        )
        self.results = self.output_to_results(self.model(data.to(self.device)))
