"""Run on two processes of torchrun what tests compare with one: one launch, as it is slow.

A module to run; its argument is the folder to fill, which gets a folder for each part.
"""

import sys
from pathlib import Path

import torch

from tests.benchmarks import test_papers_processes
from tests.runtime import test_distributed
from tests.search import test_deepaa_processes, test_screening_processes

# The first part is a search that joins the processes.
PARTS = {
    "screening": test_screening_processes.save_policy,
    "dada": test_distributed.save_policies,
    "deepaa": test_deepaa_processes.save_policies,
    "papers": test_papers_processes.save_states,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, save in PARTS.items():
        folder = Path(sys.argv[1], name)
        folder.mkdir(exist_ok=True)
        save(folder)
