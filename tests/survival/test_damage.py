"""Files that rot, disks that fill, losses that are not finite."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from nfcli.errors import CheckpointError
from nfcli.runs import Checkpoints, RunDir
from nfcli.runs.restore import restore
from tests.survival.processes import assert_same_run, run, train_arguments
from tests.tiny import tiny_preset

FAULTS = ("cut", "missing", "flipped", "empty")


@pytest.fixture
def copied(undisturbed, tmp_path):
    """The undisturbed run, to be damaged."""
    shutil.copytree(undisturbed.path, tmp_path / "run")
    return tmp_path / "run"


def damage(path, fault):
    """Damage a file as disks and crashes do."""
    data = path.read_bytes()
    middle = len(data) // 2
    if fault == "missing":
        path.unlink()
    elif fault == "flipped":
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.write_bytes(data[:middle] if fault == "cut" else b"")


def test_every_file_of_a_checkpoint_damaged_in_every_way_is_found(copied):
    warnings: list[str] = []
    checkpoints = Checkpoints(copied / "checkpoints", warnings.append)
    earlier, newest = checkpoints.steps()[-2:]
    folder = copied / "checkpoints" / f"{newest:08d}"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        for fault in FAULTS:
            data = path.read_bytes()
            if data or fault == "missing":
                damage(path, fault)
                warnings.clear()
                found = checkpoints.latest()
                assert found is not None
                assert found[0].step == earlier, (path, fault)
                (warning,) = warnings
                assert f"{newest:08d} is damaged" in warning
                assert "going back to the one before" in warning
                path.write_bytes(data)
    found = checkpoints.latest()
    assert found is not None
    assert found[0].step == newest


def test_what_cannot_be_read_just_now_is_not_taken_for_damaged(copied, monkeypatch):
    checkpoints = Checkpoints(copied / "checkpoints", pytest.fail)
    newest, whole = checkpoints.steps()[-1], Path.open

    def stale(path, *arguments, **options):
        if path.name == "manifest.json" or f"{newest:08d}" not in path.parts:
            return whole(path, *arguments, **options)
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "open", stale)
    with pytest.raises(CheckpointError, match="cannot be read: Stale file handle"):
        checkpoints.latest()


def test_weights_are_read_where_only_what_continues_training_is_damaged(copied):
    newest = max((copied / "checkpoints").iterdir())
    with tiny_preset():
        whole = restore(RunDir(copied), pytest.fail).checkpoint
        assert whole.step == int(newest.name)
        damage(next(path for path in (newest / "training").rglob("*") if path.parent.name == "d"), "flipped")
        assert restore(RunDir(copied), pytest.fail).checkpoint == whole
        damage(next(path for path in (newest / "parameters").rglob("*") if path.parent.name == "d"), "flipped")
        assert restore(RunDir(copied)).checkpoint.step < whole.step


def test_a_best_checkpoint_that_was_replaced_meanwhile_is_looked_for_again(copied, monkeypatch):
    """Training saves a better one, and deletes the best so far, while a reader looks for it."""
    first, newest = Checkpoints(copied / "checkpoints").steps()[-2:]
    place = copied / "checkpoints"
    for step in (first, newest):  # so far the earlier one is the best
        meta = json.loads((place / f"{step:08d}" / "meta.json").read_text())
        (place / f"{step:08d}" / "meta.json").write_text(json.dumps({**meta, "best_step": first}))
        Checkpoints(place).seal(step)
    whole = Checkpoints.latest

    def slow(self, **options):
        found = whole(self, **options)
        if (place / f"{first:08d}").exists():
            better = place / f"{newest + 1:08d}"
            shutil.copytree(place / f"{newest:08d}", better)
            meta = json.loads((better / "meta.json").read_text())
            changed = {**meta, "step": newest + 1, "best_step": newest + 1}
            (better / "meta.json").write_text(json.dumps(changed))
            self.seal(newest + 1)
            shutil.rmtree(place / f"{first:08d}")
        return found

    monkeypatch.setattr(Checkpoints, "latest", slow)
    with tiny_preset():
        assert restore(RunDir(copied), pytest.fail).checkpoint.step == newest + 1


def test_training_goes_on_from_the_checkpoint_before(digits, undisturbed, copied):
    newest = max((copied / "checkpoints").iterdir())
    damage(next(path for path in newest.rglob("*") if path.parent.name == "d"), "flipped")
    done = run(*train_arguments(copied.parent, digits, epochs=undisturbed.epochs))
    assert done.process.returncode == 0
    assert [line for line in done.lines if line.startswith("warning: checkpoint") and "going back" in line]
    assert_same_run(undisturbed.path, copied)


def test_nothing_is_used_when_every_checkpoint_is_damaged(digits, undisturbed, copied):
    for folder in (copied / "checkpoints").iterdir():
        damage(folder / "meta.json", "cut")
    with pytest.raises(CheckpointError, match="every checkpoint"):
        Checkpoints(copied / "checkpoints").latest()
    done = run(*train_arguments(copied.parent, digits, epochs=undisturbed.epochs))
    assert done.process.returncode == 3
    assert done.lines[-2].startswith("error: every checkpoint in ")


def test_a_full_disk_is_one_error_and_costs_nothing(digits, undisturbed, tmp_path):
    arguments = train_arguments(tmp_path, digits, epochs=undisturbed.epochs)
    begun = run(*arguments, "--max-minutes", "0.001")
    assert begun.process.returncode == 0
    before = Checkpoints(tmp_path / "run" / "checkpoints").steps()
    assert before
    full = run(*arguments, largest_file=2048)
    assert full.process.returncode == 1
    assert full.lines[-2].startswith("error: cannot write "), full.lines
    assert full.lines[-1] == "hint: check free space, quota and permissions of that folder"
    assert not any("Traceback" in line for line in full.lines)
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == before
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name.startswith(".saving-")]
    assert run(*arguments).process.returncode == 0
    assert_same_run(undisturbed.path, tmp_path / "run")


def test_a_learning_rate_that_diverges_gives_up(digits, tmp_path):
    done = run(*train_arguments(tmp_path, digits, "--learning-rate", "1e30", epochs=20))
    assert done.process.returncode == 1
    assert [line.partition("(")[2] for line in done.lines if line.startswith("warning: 10 steps in a row")] == [
        f"recovery {number} of 3)" for number in (1, 2, 3)
    ]
    assert done.lines[-2].startswith("error: training diverged at step ")
    assert "--learning-rate" in done.lines[-1]
    metrics = tmp_path / "run" / "metrics.jsonl"
    assert "NaN" not in metrics.read_text()
