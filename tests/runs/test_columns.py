"""Which cells of the results table are marked as the best of their column."""

from __future__ import annotations

import pytest

from nfcli.runs.columns import COLUMNS, lines
from nfcli.runs.comparison import Row


@pytest.mark.parametrize(("images", "marked"), [((200, 200), ["1.0000"]), ((5, 200), [])])
def test_validation_is_ranked_where_it_is_of_as_many_images(images, marked):
    rows = [
        Row(f"run-{bpd}", "simple", 10, "digits", False, val_bpd=bpd, val_images=count, test_bpd=1.0, group=0)
        for bpd, count in zip((1.0, 1.1), images, strict=True)
    ]
    columns = [column for column in COLUMNS if column.name == "val_bpd" and column.terminal]
    assert [cell.text for line in lines(rows, columns, nothing="-", empty="") for cell in line if cell.best] == marked
