#!/usr/bin/env bash
# Everything that needs a GPU, in at most eight minutes on one H100: the GPU tests, throughput, a
# search and a training.
#
#   bash benchmarks/gpu.sh [--large FOLDER] [--data cifar10:ROOT]
#   bash benchmarks/gpu.sh --tiny --device cpu       rehearsal with tiny sizes
set -euo pipefail
cd "$(dirname "$0")/.."
timeout 240 python -m pytest -q -p no:cacheprovider tests/backends/test_gpu.py || [ $? -eq 5 ]
timeout 420 python -m benchmarks.throughput_gpu "$@"
