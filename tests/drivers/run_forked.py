"""Run a module as ``python -m module`` would in its folder; see ``conftest.py``, which gives both names."""

import os
import runpy
import sys
import warnings
from pathlib import Path

folder = Path(globals()['folder'])
module = str(globals()['module'])
os.chdir(folder)
# Equitrain's commands lie beside the Python, whether its environment is activated or not.
os.environ['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
for number, name in ((1, 'driver.out'), (2, 'driver.err')):
    with Path(name).open('wb') as file:
        os.dup2(file.fileno(), number)
sys.argv, sys.path[:0] = [module], [str(folder)]
warnings.simplefilter('ignore')
runpy.run_module(module, run_name='__main__', alter_sys=True)
