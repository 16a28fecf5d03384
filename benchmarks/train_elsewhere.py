"""Run the jobs that ``phonon_accuracy.py --prepare FOLDER`` wrote, where there are Equitrain and MACE but no AiiDA.

    python benchmarks/train_elsewhere.py FOLDER [--jobs 4]

What has ended well is not run again. Besides the results, everything that a job wrote stays in its folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

DRIVER = 'equitrain_job.drivers.training.job'


def read(folder: Path, name: str) -> dict[str, Any]:
    """Return what a job wrote into a file of JSON; nothing if it did not."""
    path = folder / name
    return json.loads(path.read_text()) if path.exists() else {}


def run(folder: Path) -> bool:
    """Run a job; return whether it ended well."""
    if not read(folder, 'summary.json').get('errors', {}).get('after'):
        (folder / 'failure.json').unlink(missing_ok=True)
        with (folder / 'driver.out').open('w') as out, (folder / 'driver.err').open('w') as err:
            environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
            subprocess.run(
                [sys.executable, '-m', DRIVER], cwd=folder, stdout=out, stderr=err, env=environment, check=False
            )
    summary, failure = read(folder, 'summary.json'), read(folder, 'failure.json')
    done = f'{summary.get("epochs")} epochs in {summary.get("seconds", 0):.0f} s on {summary.get("device_name")}'
    print(f'{folder.name}: {failure.get("message") or done}', flush=True)
    return bool(summary) and not failure


def main() -> None:
    """Parse the arguments, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--jobs', type=int, default=1, help='jobs at once')
    args = parser.parse_args()
    folders = sorted(path.parent for path in args.folder.glob('*/job.json'))
    with ThreadPoolExecutor(args.jobs) as pool:
        ended = list(pool.map(run, folders))
    sys.exit(0 if all(ended) else 1)


if __name__ == '__main__':
    main()
