"""`python -m tests.cli.shipping FOLDER ...` is `nf ...` with which the runs of that folder ship, and no others."""

import sys
from pathlib import Path

from nfcli.__main__ import main
from nfcli.runs import pretrained as pretrained
from tests.cli.small import small_smoke_runs

if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    pretrained.pretrained_dir = lambda: folder
    small_smoke_runs()
    main()
