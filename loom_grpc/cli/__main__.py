"""Lets `python -m loom_grpc.cli` do what `loom-grpc` does."""

import sys

from loom_grpc.cli.command import main

sys.exit(main())
