"""`nfcli.flows` needs jax, flax and numpy alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys

# Not rich: flax imports it.
OTHERS = ("typer", "tabulate", "orbax", "matplotlib", "PIL", "tensorflow", "tensorflow_datasets")

PROGRAM = f"""
import json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OTHERS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
import nfcli.flows
print(json.dumps(sorted(sys.modules)))
"""


def test_flows_import_nothing_heavy():
    """With the rest of nf's dependencies out of reach."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    names = [name.split(".") for name in json.loads(done.stdout)]
    assert not {name[0] for name in names} & set(OTHERS)
    assert {name[1] for name in names if name[0] == "nfcli" and len(name) > 1} == {
        "flows",
        "presets",
        "errors",
        "limits",
    }
