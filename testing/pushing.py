"""Pushes a folder in a process of its own, which a test kills.

Prints `ready` when everything is imported, then `done`, or the error for the user.

usage: python -m testing.pushing OUT REPO VERSION
"""

import importlib
import sys

from testing import hub_steps

MODULES = (
    "datasets",
    "pyarrow.parquet",
    "hf_xet",
    "huggingface_hub.hf_api",
    "diffcore_hf.workflows.push",
    "diffcore_hf.publishing.hub.push",
    "diffcore_hf.publishing.hub.retry",
    "yaml",
)


def main() -> None:
    """Import all modules, print `ready`, then push. So a test that waits for `ready` kills only the push."""
    for name in MODULES:
        importlib.import_module(name)
    print("ready", flush=True)
    try:
        hub_steps.push(*sys.argv[1:4])
        print("done", flush=True)
    except ValueError as error:
        print(error, flush=True)


if __name__ == "__main__":
    main()
