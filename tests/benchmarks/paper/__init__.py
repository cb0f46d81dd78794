"""The published tables as plans: what to train, how far it is, and what came out beside the paper.

    python -m tests.benchmarks.paper table3 --data cifar-10-batches-py --minutes 8

`python -m tests.benchmarks.paper --help` says the rest; docs/results/paper.md is written from the
journal docs/results/paper.jsonl.
"""
