"""Questions of `daemon_kill.sh` to the database."""

import sys
import time
from collections import Counter

from aiida.engine.daemon.client import get_daemon_client
from aiida.orm import CalcJobNode, load_node

#: Seconds to wait for a job.
PATIENCE = 1800


def jobs_of(pk):
    """Return all jobs below a process."""
    return [node for node in load_node(pk).called_descendants if isinstance(node, CalcJobNode)]


def good_jobs(base):
    """Return how many jobs of a process ended well."""
    return sum(isinstance(called, CalcJobNode) and called.is_finished_ok for called in base.called)


def wait(pk, kind):
    """Wait until a job of a kind really runs."""
    for _ in range(PATIENCE):
        jobs = jobs_of(pk)
        for job in jobs:
            if job.process_label == kind and not job.is_terminated and job.get_job_id():
                done = sum(each.is_terminated for each in jobs)
                print(f'{kind} {job.pk} runs as job {job.get_job_id()}; {done} of {len(jobs)} jobs so far are done')
                return
        if load_node(pk).is_terminated:
            break
        time.sleep(1)
    sys.exit(f'no {kind} was seen to run')


def check(pk):
    """Say whether every job was done, and once."""
    node, jobs = load_node(pk), jobs_of(pk)
    processes = [node, *node.called_descendants]
    pw_bases = [each for each in processes if each.process_label == 'PwBaseWorkChain']
    ran = [job for job in jobs if not job.base.caching.is_created_from_cache]
    scheduled = Counter(job.get_job_id() for job in ran)
    contents = Counter(job.base.caching.get_hash() for job in ran)
    facts = {
        'processes that did not end well': [each.pk for each in processes if not each.is_finished_ok],
        'DFT work chains without exactly one good job': [base.pk for base in pw_bases if good_jobs(base) != 1],
        'jobs without a result': [job.pk for job in jobs if not job.outputs._get_keys()],
        'jobs that ran twice': [number for number, times in scheduled.items() if times > 1]
        + [number for number, times in contents.items() if times > 1],
    }
    kinds = ', '.join(f'{count} {kind}' for kind, count in sorted(Counter(job.process_label for job in jobs).items()))
    print(f'{node.process_label} {pk} [{node.exit_status}]: {len(jobs)} jobs ({kinds}), {len(ran)} of them ran')
    print(f'labelled frames: {node.outputs.dataset.n_frames}' if 'dataset' in node.outputs else 'no labelled frames')
    for fact, pks in facts.items():
        print(f'{fact}: {pks or "none"}')
    sys.exit(any(facts.values()))


question, *given = sys.argv[1:]
if question == 'daemon':
    print(get_daemon_client().get_daemon_pid())
elif question == 'wait':
    wait(int(given[0]), given[1])
else:
    check(int(given[0]))
