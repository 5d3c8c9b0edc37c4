"""What training reports, in lines that fit, and what the live line says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nfcli.cli.console import Console, TrainingProgress
from nfcli.training.reporter import Progress


def progress(**changes):
    values = {"step": 3, "total_steps": 9, "epoch": 199, "epochs": 200, "loss": 1.5, "images_per_second": 27.4}
    return Progress(**{**values, "best_val_bpd": 1.234, "seconds_left": 44_000.0, **changes})


@pytest.mark.parametrize("epochs", [200, 9999])
@pytest.mark.parametrize("bpd", [1.234, 10.234, None])
@pytest.mark.parametrize("images_per_second", [27.4, 123_456.0])
@pytest.mark.parametrize("seconds_left", [59.0, 44_000.0, 3_599_000.0])
def test_an_epoch_is_a_line_of_80_columns(epochs, bpd, images_per_second, seconds_left, capfd):
    row = {"epoch": epochs - 1, "train_bpd": bpd, "val_bpd": bpd, "images_per_second": images_per_second}
    TrainingProgress(Console()).row(row, progress(epochs=epochs, best_val_bpd=bpd, seconds_left=seconds_left))
    (line,) = capfd.readouterr().err.splitlines()
    assert len(line) <= 80
    assert line.endswith(" left")
    assert f"val {'not finite' if bpd is None else f'{bpd:.3f} bpd, best'}" in line


def test_the_live_line_tells_the_best_of_the_last_validation():
    shown = TrainingProgress(Console())
    news = []
    shown.console.live = SimpleNamespace(
        add_task=lambda name, **_: name,
        update=lambda _, **fields: news.append(fields["news"]),
        console=SimpleNamespace(print=lambda *_, **__: None),
    )
    shown.step(progress(best_val_bpd=2.5))
    row = {"epoch": 200, "train_bpd": 1.5, "val_bpd": 1.25, "images_per_second": 27.4}
    shown.row(row, progress(best_val_bpd=1.25))
    assert "best 2.500" in news[0]
    assert "best 1.250" in news[-1]
