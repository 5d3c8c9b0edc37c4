"""The folder that `nf` is started in holds data; whatever code lies there is none of its business."""

from __future__ import annotations

import subprocess
import sys

from tests.cli.conftest import SETTINGS, write_images
from tests.cli.program import ROOT, environment

# What pip makes of an entry point, and a note of every process that is started.
PROGRAM = f"""
import sys

def note(event, arguments):
    if event in ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork", "os.system"):
        print(event, arguments, file=sys.stderr)
sys.addaudithook(note)
sys.path.insert(0, {str(ROOT)!r})
from nfcli.__main__ import main
sys.exit(main())
"""


FLOW = '[[layers]]\nkind = "masked-couplings"\ncount = 1\nmask = "checkerboard"\nhidden = 8\n'


def test_code_in_the_working_directory_is_never_run(tmp_path):
    """A run that is long, and of which nothing was compiled before: all that there is to do before the first step."""
    program, here = tmp_path / "bin" / "nf", tmp_path / "here"
    for path in (program, here / "random.py", here / "nfcli" / "__init__.py", here / "sitecustomize.py"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("import sys; sys.stderr.write('hostile code was run')")
    program.write_text(PROGRAM)
    write_images(here / "tiny.npz")
    (here / "flow.toml").write_text(FLOW)
    command = [sys.executable, program, "train", "flow.toml", *SETTINGS, "--epochs", "1000", "--max-minutes", "0.001"]
    cold = environment(NF_CACHE_DIR=str(tmp_path / "cache"), PYTHONPATH=None)
    done = subprocess.run([*command, "-q"], cwd=here, env=cold, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
