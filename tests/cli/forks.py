"""`nf` as another process, forked from one that has imported what it imports: half the time of a tiny command."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn


@functools.cache
def _server() -> subprocess.Popen[str]:
    """One for each process of tests, which it ends with."""
    from tests.cli.program import ROOT, environment

    command = [sys.executable, "-P", "-m", "tests.cli.forks"]
    around = environment(PYTHONPATH=str(ROOT))
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=around)
    atexit.register(server.communicate)
    return server


def run(arguments: list[str], cwd: Path, timeout: float, around: dict[str, str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        request = {"arguments": arguments, "cwd": str(cwd), "around": around, "out": str(out), "err": str(err)}
        print(json.dumps(request), file=server.stdin, flush=True)
        late = threading.Timer(timeout, os.kill, (int(server.stdout.readline()), signal.SIGKILL))
        late.start()
        code = int(server.stdout.readline())
        late.cancel()
        return code, out.read_text(), err.read_text()


def _serve() -> None:
    from tests.cli.small import small_smoke_runs

    small_smoke_runs()
    from nfcli.backend import runtime

    runtime.prepare()
    import nfcli.cli.app
    import nfcli.drawing.samples
    import nfcli.training.loop  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(request: dict[str, Any]) -> NoReturn:
    for number, name in enumerate((os.devnull, request["out"], request["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["around"])
    sys.argv = ["nf", *request["arguments"]]
    code: Any = 1
    try:
        from nfcli.__main__ import main

        main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # as the interpreter would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code or 0))


if __name__ == "__main__":
    _serve()
