"""The main job on silicon: `verdi -p equitrain run examples/material.py [--submit]`.

Ends with the page of results in `silicon-report/`.
"""

import sys
from pathlib import Path

from aiida_equitrain.launch import nodes, run
from aiida_equitrain.report.write import write_report
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup import shipped as resources
from aiida_equitrain.workflows.material.workchain import MaterialWorkChain

# Six frames, a low cut-off, 20 epochs: minutes on two cores. Without them it is the protocol `fast` as it stands.
overrides = nodes.load_overrides(Path(sys.argv[0]).with_name('quickstart.yaml'))
foundation = defaults.default_foundation()
builder = MaterialWorkChain.get_builder_from_protocol(
    nodes.load_structure(str(resources.structure_file('Si'))),
    foundation,
    **defaults.codes_for(foundation),
    phonopy_code=defaults.find_code('phonopy'),
    pw_code=defaults.find_code('pw'),
    pseudo_family=defaults.default_family().label,
    forgetting_dataset=nodes.forgetting_dataset(),
    strategy='l2-tsp',
    dft=True,
    protocol='fast',
    overrides=overrides,
)
node = run.start(builder, submit='--submit' in sys.argv)
if node.is_terminated:
    write_report(node, Path('silicon-report'))
    print('The page of results: silicon-report/report.html')
