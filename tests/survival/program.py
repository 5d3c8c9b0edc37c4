"""`python -m tests.survival.program ...` is `nf ...` that also knows preset `tiny`."""

from nfcli.cli.app import main
from nfcli.presets import PRESETS
from tests.tiny import TINY

if __name__ == "__main__":
    PRESETS["tiny"] = TINY
    main()
