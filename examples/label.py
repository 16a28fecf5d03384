"""Label rattled frames of silicon with DFT: `verdi -p equitrain run examples/label.py [--submit]`."""

import sys
from pathlib import Path

from aiida_equitrain.launch import nodes, run
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup import shipped as resources
from aiida_equitrain.workflows.label.workchain import LabelWorkChain

# Nine frames and a low cut-off: minutes on two cores. Without them it is the protocol `fast` as it stands.
overrides = nodes.load_overrides(Path(sys.argv[0]).with_name('quickstart.yaml'))
foundation = defaults.default_foundation()
builder = LabelWorkChain.get_builder_from_protocol(
    structure=nodes.load_structure(str(resources.structure_file('Si'))),
    foundation=foundation,
    python_code=defaults.find_code(defaults.python_label(foundation)),
    pw_code=defaults.find_code('pw'),
    pseudo_family=defaults.default_family().label,
    protocol='fast',
    overrides=overrides['label'],
)
run.start(builder, submit='--submit' in sys.argv)
