"""Reliability is measured: hostile files, kills, failing writes, data loaders, versions.

    python -m benchmarks.reliability fuzz --count 1000000
    python -m benchmarks.reliability kills --count 200
    python -m benchmarks.reliability faults
    python -m benchmarks.reliability load --images 100000
    python -m benchmarks.reliability environment

Each command replaces its own rows of results/reliability.json. It ends with status 1 if a row shows
a fault.
"""
