"""Imports what `nf` imports, once for all the processes that are forked from this one; see `forks`."""

import gc

from nfcli.backend import runtime

runtime.prepare()

import tests.tiny  # noqa: E402, F401

gc.freeze()
