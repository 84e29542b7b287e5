"""Move an alias of a model between versions: `python move_alias.py NAME ALIAS EVERY-SECONDS VERSION...`

It ends with standard input; it prints a line after the first move.
"""

import itertools
import select
import sys

from mlflow import MlflowClient

name, alias, every, *versions = sys.argv[1:]
client = MlflowClient()
for version in itertools.cycle(versions):
    client.set_registered_model_alias(name, alias, version)
    print(version, flush=True)
    if select.select([sys.stdin], [], [], float(every))[0]:
        break
