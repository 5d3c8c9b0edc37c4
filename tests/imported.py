"""Imports what `nf` imports, once for all the processes that are forked from this one; see `forks`."""

import contextlib
import gc
import io
import tempfile

from nfcli.backend import runtime

runtime.prepare()

import jaxlib.mlir.dialects.mhlo  # noqa: E402, F401

import nfcli.drawing.dequantization  # noqa: E402
import nfcli.drawing.interpolation  # noqa: E402
import nfcli.drawing.page  # noqa: E402
import nfcli.training.loop  # noqa: E402, F401
import tests.cli.small  # noqa: E402
import tests.tiny  # noqa: E402, F401
from nfcli.cli.app import run  # noqa: E402
from nfcli.drawing.style import figure  # noqa: E402

# Some is imported, and fonts are found, while a command line is read and a picture is drawn, and jaxlib's dialects when
# something is compiled. None of it may need a device: jax must not have looked for any before a fork.
with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
    run(["compare", "--quiet", "--runs-dir", folder])
with figure(io.BytesIO(), 4, 3) as drawn:
    drawn.subplots().set_title("a")
gc.freeze()
