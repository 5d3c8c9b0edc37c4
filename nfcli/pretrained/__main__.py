"""`python -m nfcli.pretrained RUN`: for who maintains the package, and releases new weights."""

import argparse
import sys
from pathlib import Path

from nfcli.backend import runtime
from nfcli.cli.console import Console, print_error
from nfcli.errors import NFError
from nfcli.runs import default_runs_dir


def main(arguments: list[str] | None = None) -> int:
    """Export a run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nfcli.pretrained", description=main.__doc__)
    parser.add_argument("run", metavar="RUN", help="name of a run that nf eval has measured")
    parser.add_argument("--runs-dir", type=Path, default=default_runs_dir(), help="where run directories live")
    parser.add_argument("--to", type=Path, metavar="DIR", help="instead of the package's own folder")
    parser.add_argument("--hardware", metavar="TEXT", help="what trained it, in words; by default from its config.json")
    parser.add_argument("--other-data", action="store_true", help="accept other images than the bundled MNIST")
    parser.add_argument("--smoke", action="store_true", help="accept a narrow twin of a preset, for trying this")
    given = parser.parse_args(arguments)
    runtime.prepare()
    from nfcli.pretrained.export import export, size_of, size_of_all

    console = Console()
    try:
        path = export(**vars(given))
    except NFError as error:
        print_error(error)
        return error.exit_code
    console.result(None, str(path))
    console.message(
        f"pretrained:{path.name} takes {size_of(path) / 1e6:.2f} MB, all {size_of_all(path.parent) / 1e6:.2f} MB"
    )
    console.hint("python -m tests.cli.make_readme renews the README's table")
    return 0


if __name__ == "__main__":
    sys.exit(main())
