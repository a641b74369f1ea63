"""A push as a process of its own, to be killed: says `ready` when everything is imported, `done` when it is over, or
what was refused.

usage: python -m testing.pushing OUT REPO VERSION
"""

import importlib
import sys

from testing import hub_steps

for name in ("datasets", "pyarrow.parquet", "hf_xet", "huggingface_hub.hf_api", "diffcore_hf.workflows.push",
             "diffcore_hf.publishing.hub.push", "diffcore_hf.publishing.hub.retry", "yaml"):  # fmt: skip
    importlib.import_module(name)  # so that the push itself is all that is left

print("ready", flush=True)
try:
    hub_steps.push(*sys.argv[1:4])
    print("done", flush=True)
except ValueError as error:
    print(error, flush=True)
