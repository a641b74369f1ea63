"""A push as a process of its own, to be killed: says `ready` when everything is imported, `done` when it is over, or
what was refused.

usage: python pushing.py OUT REPO VERSION
"""

import sys

import datasets  # noqa: F401 (so that the push itself is all that is left)
import hub_steps

print("ready", flush=True)
try:
    hub_steps.push(*sys.argv[1:4])
    print("done", flush=True)
except ValueError as error:
    print(error, flush=True)
