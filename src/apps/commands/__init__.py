"""The sub-commands of `fastcore`, one module each: `add(subparsers)` declares it, `run(arguments)` does it."""
