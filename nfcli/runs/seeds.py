"""Runs that differ in the seed alone, as one row: how much of a difference is the luck of training?"""

import json
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from nfcli.config import with_defaults
from nfcli.errors import NFError
from nfcli.runs.comparison import Comparison, Row
from nfcli.runs.lookup import find_run, natural
from nfcli.runs.schema import is_whole

AVERAGED = (
    *("val_bpd", "val_bpd_stderr", "test_bpd", "test_bpd_stderr", "test_elbo_bpd", "effective_sample_size"),
    *("inference_ms", "sampling_ms", "marginal_bpd", "marginal_bpd_stderr", "accuracy", "label_bits"),
    "calibration_error",
)
"""What of a row is the mean over the runs of a group; the rest is what they have in common, and else None."""


@dataclass(frozen=True)
class SeedRow(Row):
    """Runs of several seeds in one row, with means over them; `test_bpd_stderr` is the mean of their own.

    Attributes:
        runs: Their names.
        seeds: Of each, None where config.json does not say it.
        val_bpd_seed_std, test_bpd_seed_std: Standard deviation over them, with n - 1; None for one run, or where one
            of them was not measured.
    """

    runs: tuple[str, ...] = ()
    seeds: tuple[int | None, ...] = ()
    val_bpd_seed_std: float | None = None
    test_bpd_seed_std: float | None = None

    @property
    def seed_count(self) -> int:
        """How many runs."""
        return len(self.seeds)


def group_seeds(comparison: Comparison, runs_dir: Path) -> Comparison:
    """One row for all runs that differ in nothing but the seed, and were measured in the same way.

    Args:
        comparison: Of single runs.
        runs_dir: Where they live.

    Returns:
        The same with rows that are each a `SeedRow`, and a note on each run that is left out, being of the same seed
        and settings as another.
    """
    groups: dict[tuple[Any, ...], dict[int | None, Row]] = {}
    notes = list(comparison.notes)
    for row in sorted(comparison.rows, key=lambda row: natural(row.run)):
        run = find_run(row.run, runs_dir)
        config, rows = run.config(), []
        with suppress(NFError):  # a damaged history says nothing of the measurement
            rows = run.metrics()
        done, wanted = max((entry["epoch"] for entry in rows), default=None), config["settings"]["epochs"]
        if done is not None and done < wanted:
            notes.append(f"'{row.run}' was trained for {done} of its {wanted} epochs")
        group = groups.setdefault((row.question, row.shipped, _without_seed(config)), {})
        seed = config["settings"].get("seed")
        first = group.setdefault(seed if is_whole(seed) else None, row)
        if first is not row:
            notes.append(f"'{row.run}' is left out: it has the seed and the settings of '{first.run}'")
    grouped = sorted(map(_one_row, groups.values()), key=lambda row: row.rank)
    return replace(comparison, rows=tuple(grouped), notes=tuple(notes))


def _without_seed(config: dict[str, Any]) -> str:
    """The same text for runs of the same settings and images, whatever their seed."""
    # The images may have been named in several ways.
    settings = {**with_defaults(config["settings"]), "seed": None, "dataset": None}
    return json.dumps([settings, config["model"], {**config["data"], "source": None, "name": None}], sort_keys=True)


def _one_row(group: dict[int | None, Row]) -> SeedRow:
    rows = list(group.values())
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Row)}
    same = {name: cells[0] for name, cells in columns.items() if cells.count(cells[0]) == len(cells)}
    whole = {name: columns[name] for name in AVERAGED if None not in columns[name]}
    means = dict.fromkeys(AVERAGED) | {name: fmean(cells) for name, cells in whole.items()}
    spread_of = whole.keys() & {"val_bpd", "test_bpd"} if len(rows) > 1 else ()
    spread = {f"{name}_seed_std": stdev(whole[name]) for name in spread_of}
    name = rows[0].run + f" +{len(rows) - 1}" * (len(rows) > 1)
    values: dict[str, Any] = {**dict.fromkeys(columns), **same, **means, **spread, "run": name}
    return SeedRow(**values, runs=tuple(columns["run"]), seeds=tuple(group))
