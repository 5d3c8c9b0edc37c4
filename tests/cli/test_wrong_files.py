"""Files damaged by hand or by a crash: exit code 3, one line, and nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from nfcli.drawing.learning_curves import learning_curves
from nfcli.errors import RunError
from nfcli.runs import RunDir
from tests.cli.conftest import SETTINGS
from tests.cli.program import assert_refused, contents, nf, succeeds

TRAIN = ("train", "simple", *SETTINGS, "--epochs", "1", "--name", "simple")

MORE = ("train", "simple", *SETTINGS, "--epochs", "2", "--name", "simple")

BROKEN = {
    "empty": b"",
    "cut off": b'{\n  "schema_version": 1,\n  "run',
    "no object": b"[]",
    "not finite": b'{"schema_version": 1, "settings": NaN}',
    "another schema": b'{"schema_version": 99}',
    "no text": b"\xff\xfe\x00",
    "nested": b"[" * 100_000,
    "huge": b'{"schema_version": ' + b"9" * 5_000 + b"}",
}

WRONG = (None, "x", [], {}, -1, 10**400, 1e300, True)


@pytest.fixture
def home(measured, tmp_path):
    return measured.copy(tmp_path / "copy")


@pytest.fixture
def run(home):
    return home / "runs" / "simple"


def change(path, keys, value):
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


def refused(call, home, *commands, codes=(2, 3)):
    before = contents(home)
    for words in commands:
        done = call(*words, cwd=home)
        assert done.code in codes, (words, done)
        assert_refused(done, done.code, warnings=2)
    assert contents(home) == before


def shown_or_refused(call, home):
    """What is odd but can be shown may be shown."""
    done = call("compare", "simple", cwd=home)
    if done.code == 0:
        assert max(map(len, done.out.splitlines())) <= 80
    else:
        assert_refused(done, 3)


@pytest.mark.parametrize("kind", BROKEN)
def test_config(kind, home, run, call):
    (run / "config.json").write_bytes(BROKEN[kind])
    refused(call, home, TRAIN, ("eval", "simple"), ("sample", "simple"), ("compare", "simple"), codes=(3,))
    assert call("compare", cwd=home).err.startswith("warning: leaving out run 'simple'")


@pytest.mark.parametrize(
    "keys",
    [
        ("settings",),
        ("data",),
        ("model",),
        ("settings", "dataset"),
        ("settings", "batch_size"),
        ("data", "source"),
        ("data", "train_images"),
        ("model", "levels"),
        ("model", "alpha"),
        ("model", "shape"),
        ("model", "preset"),
    ],
    ids=".".join,
)
@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:8])
def test_config_with_a_value_of_another_kind(keys, value, home, run, call):
    change(run / "config.json", keys, value)
    if keys[-1] in ("dataset", "source") and value == "x":
        return  # one of them is enough to find the images again, and training is told where they are
    refused(call, home, ("interpolate", "simple"), codes=(3,))
    if keys[0] != "model":
        refused(call, home, TRAIN)


@pytest.mark.parametrize(
    "value", [value for value in WRONG if value not in (-1, True)], ids=lambda value: repr(value)[:8]
)
def test_epochs_of_another_kind(value, home, run, call):
    change(run / "config.json", ("settings", "epochs"), value)
    refused(call, home, TRAIN)


@pytest.mark.parametrize("kind", BROKEN)
def test_results(kind, home, run, call):
    (run / "results.json").write_bytes(BROKEN[kind])
    refused(call, home, ("compare", "simple"), codes=(3,))


def test_damaged_results_are_found_before_the_images_are_evaluated(home, run):
    (run / "results.json").write_bytes(BROKEN["cut off"])
    before = contents(home)
    assert_refused(nf("eval", "simple", "-k", "100000000", cwd=home, timeout=30), 3)
    assert contents(home) == before


@pytest.mark.parametrize(
    "keys",
    [
        ("evaluations",),
        *[("evaluations", 1, key) for key in ("split_fingerprint", "bpd", "bpd_stderr", "images", "seed")],
    ],
    ids=lambda keys: keys[-1],
)
@pytest.mark.parametrize("value", ["x", [], {}, -1, 10**400, 1e308, True], ids=lambda value: repr(value)[:8])
def test_results_with_a_value_of_another_kind(keys, value, home, run, call):
    change(run / "results.json", keys, value)
    shown_or_refused(call, home)


@pytest.mark.parametrize("key", ["inference_ms", "sampling_ms"])
@pytest.mark.parametrize("value", ["x", [], {}, 10**400, 1e308], ids=lambda value: repr(value)[:8])
def test_timing_of_another_kind(key, value, home, run, call):
    change(run / "results.json", ("timing", key), value)
    shown_or_refused(call, home)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999"])
def test_a_number_that_overflows_is_none(number, home, run, call):
    text = (run / "results.json").read_text()
    bpd = json.loads(text)["evaluations"][1]["bpd"]
    (run / "results.json").write_text(text.replace(repr(bpd), number.decode()))
    refused(call, home, ("compare", "simple"), ("compare", "simple", "--json"), codes=(3,))


@pytest.mark.parametrize(
    "line", [b"x\n", b"[]\n", b"{}\n", b'{"step": "x"}\n', b"\xff\n", b"5\n", b"[" * 100_000 + b"\n"]
)
def test_metrics(line, home, run, call):
    (run / "metrics.jsonl").write_bytes(line + (run / "metrics.jsonl").read_bytes())
    before = contents(home)
    done = call(*MORE, cwd=home)
    assert done.code == 3
    assert [text for text in done.err.splitlines() if text.startswith("error: ")]
    assert "error: unexpected " not in done.err
    after = contents(home)
    assert after.pop("runs/simple/config.json")
    assert before.pop("runs/simple/config.json")
    assert after == before


@pytest.mark.parametrize("value", ["x", [], {}, True, 1e308, 10**20], ids=lambda value: repr(value)[:8])
def test_a_value_that_is_only_drawn_does_not_end_a_finished_training(value, home, run, call):
    with (run / "metrics.jsonl").open("a") as metrics:
        metrics.write(json.dumps({"epoch": 2, "step": 4, "train_bpd": value}) + "\n")
    done = call(*TRAIN, "--json", cwd=home)
    assert (done.code, done.json["finished"]) == (0, True)
    (line,) = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert line.startswith("warning: no learning curve: line 2 of runs/simple/metrics.jsonl is damaged: train_bpd is ")
    with pytest.raises(RunError, match=r"line 2 of .* is damaged"):
        learning_curves(RunDir(run))


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "changed"])
@pytest.mark.parametrize("part", ["manifest.json", "meta.json", "parameters"])
def test_checkpoint(part, damage, home, run, call):
    (checkpoint,) = (run / "checkpoints").iterdir()
    file = checkpoint / part
    if file.is_dir():
        file = max((path for path in file.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        middle = len(data) // 2
        changed = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
        file.write_bytes({"empty": b"", "cut": data[:middle], "changed": changed}[damage])
    refused(call, home, ("eval", "simple"), ("sample", "simple"), TRAIN, codes=(3,))


def test_no_checkpoint(home, run, call):
    shutil.rmtree(run / "checkpoints")
    refused(call, home, ("eval", "simple"), ("sample", "simple"), codes=(3,))
    (run / "checkpoints" / "00000099").mkdir(parents=True)
    refused(call, home, ("eval", "simple"), ("sample", "simple"), codes=(3,))


def test_what_is_no_checkpoint_is_passed_over(home, run):
    for name in ("00000099", "²", "notes", ".saving-00000003"):
        (run / "checkpoints" / name).mkdir()
    (run / "checkpoints" / "00000098").write_text("no folder")
    done = succeeds("sample", "simple", "-n", "1", "--json", cwd=home)
    assert done.json["checkpoint_step"] == 2


def test_links_that_leave_the_runs_are_refused_and_not_listed(home, call):
    outside = (home / "runs/simple").rename(home / "outside")
    (home / "runs/simple").symlink_to(outside)
    refused(call, home, ("eval", "simple"), ("sample", "simple"), TRAIN, (*TRAIN, "--overwrite"), codes=(2,))
    assert [row["run"] for row in call("compare", "--json", cwd=home).json["rows"]] == ["multiscale"]


def test_a_link_in_a_circle_is_passed_over(home, call):
    (home / "runs/circle").symlink_to("circle")
    (home / "loop").symlink_to("loop")
    assert [row["run"] for row in call("compare", "--json", cwd=home).json["rows"]] == ["multiscale", "simple"]
    refused(call, home, ("sample", "circle"), codes=(3,))
    refused(call, home, ("sample", "simple", "-n", "1", "-o", "loop/x.png"), codes=(1, 2))


@pytest.mark.parametrize("name", ["metrics.jsonl", "results.json", "config.json"])
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(name, home, run, call):
    (run / name).unlink()
    os.mkfifo(run / name)
    assert call("compare", "simple", "--html", "page.html", cwd=home).code in (0, 3)
    os.mkfifo(home / "flow.toml")
    refused(call, home, ("train", "flow.toml", "--dry-run"), codes=(2,))
    os.mkfifo(home / "z.npz")
    if name == "metrics.jsonl":
        refused(call, home, ("sample", "simple", "--from-latents", "z.npz"), codes=(3,))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", None])
def test_images(damage, home, call):
    path = home / "tiny.npz"
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    refused(call, home, TRAIN, ("eval", "simple"), ("interpolate", "simple"), codes=(3,))
    path.unlink()
    refused(call, home, TRAIN, ("eval", "simple"), codes=(3,))


def test_runs_are_found_from_another_folder(home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settings = ("--runs-dir", home / "runs", "--pairs", "0,1", "--steps", "2")
    assert succeeds("interpolate", "simple", *settings, "--json", cwd=elsewhere).json["ends_exact"]
