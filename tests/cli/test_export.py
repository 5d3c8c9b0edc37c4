"""`python -m nfcli.pretrained`: what it writes, and what it refuses to."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from nfcli.errors import RunError
from nfcli.pretrained.export import check_portable
from nfcli.pretrained.export import export as export_run
from nfcli.runs.pretrained import TRAINING, training_in_words
from nfcli.runs.schema import check_fields
from tests.cli.conftest import export
from tests.cli.program import NF, assert_refused, contents, environment
from tests.runs.untrained import untrained


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def arrays_of(folder):
    """Names of the arrays that Orbax saved there."""
    return set(json.loads((folder / "_METADATA").read_text())["tree_metadata"])


def test_a_run_as_everywhere_without_what_only_training_needs(shipment):
    folder = shipment.ships / "simple"
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "results.json",
        "per-image",
        "checkpoints",
    }
    (checkpoint,) = (folder / "checkpoints").iterdir()
    assert {path.name for path in checkpoint.iterdir()} == {"parameters", "meta.json", "manifest.json"}
    assert {path.name.split("-")[0] for path in (folder / "per-image").iterdir()} == {"test"}
    own = shipment.home / "runs/simple"
    assert (folder / "metrics.jsonl").read_bytes() == (own / "metrics.jsonl").read_bytes()
    # Not by sizes on disk, which depend on how Orbax found time to group its writes: every array, and no other.
    (source,) = (own / "checkpoints").iterdir()
    shipped, trained = (arrays_of(each / "parameters") for each in (checkpoint, source))
    assert shipped == trained
    assert len(shipped) > 10
    assert not any("optimizer" in name for name in shipped)
    assert size_of(folder) < size_of(own)


def test_config_says_what_the_training_took(shipment):
    content = json.loads((shipment.ships / "multiscale/config.json").read_text())
    check_fields(content, TRAINING)
    assert content["training"]["hardware"] == "two cores"
    assert content["training"]["epochs"] == 1
    assert content["training"]["best_step"] == content["training"]["steps"] == 2
    assert content["data"]["source"] == "tiny.npz"


def test_results_are_of_the_name_that_ships(shipment):
    content, own = (
        json.loads((folder / "multiscale/results.json").read_text())
        for folder in (shipment.ships, shipment.home / "runs")
    )
    assert content["run"] == "multiscale"
    assert content["parameters"] == own["parameters"]
    assert content["timing"] == own["timing"]


def test_nothing_tells_where_it_was_made(shipment):
    check_portable(shipment.ships, [shipment.home])
    for path in (path for path in shipment.ships.rglob("*") if path.is_file()):
        assert str(shipment.home.parent).encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", '{"a": ["/home/someone/digits"]}'),
        ("metrics.jsonl", '{"a": 1}\n{"a": {"C:\\\\digits": 1}}\n'),
        ("note.txt", "written to /mnt/runs"),
        ("weights", "\0\0my-own-place\0"),
    ],
)
def test_places_are_found(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match=f"{name} names"):
        check_portable(tmp_path, ["my-own-place"])


def test_again_gives_the_same(shipment, tmp_path):
    home = shipment.home
    options = ("--other-data", "--smoke", "--hardware", "two cores")
    (tmp_path / "simple").mkdir()
    (tmp_path / "simple/config.json").write_text("{}")  # an earlier one is replaced
    command = [*NF, "nfcli.pretrained", "simple", "--to", tmp_path, *options]
    done = subprocess.run(command, cwd=home, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/simple\n")
    for name in ("config.json", "results.json", "metrics.jsonl"):
        assert (tmp_path / "simple" / name).read_bytes() == (shipment.ships / "simple" / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--smoke",), 2, "does not ship with nf"),
        (("--other-data",), 2, "narrow twin"),
    ],
)
def test_what_should_not_ship(options, code, words, shipment, tmp_path):
    done = export("simple", shipment.home, tmp_path / "ships", *options)
    assert_refused(done, code)
    assert words in done.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("change", [{"images": 15}, {"importance_samples": 7}, {"checkpoint_step": 1}])
def test_a_run_that_was_not_measured_whole_is_refused(change, workshop, shipment, tmp_path):
    home = workshop.copy(tmp_path / "home")
    results = json.loads((shipment.home / "runs/simple/results.json").read_text())
    for evaluation in results["evaluations"]:
        evaluation |= change
    (home / "runs/simple/results.json").write_text(json.dumps(results))
    before = contents(home)
    done = export("simple", home, tmp_path / "ships", "--other-data", "--smoke")
    assert_refused(done, 3)
    assert "K = 8" in done.err
    assert "hint: nf eval simple -k 8" in done.err
    assert contents(home) == before


def test_a_damaged_checkpoint_is_not_passed_over(shipment, workshop, tmp_path):
    home = workshop.copy(tmp_path / "home")
    (home / "runs/simple/results.json").write_bytes((shipment.home / "runs/simple/results.json").read_bytes())
    (meta,) = (home / "runs/simple/checkpoints").rglob("meta.json")
    meta.write_bytes(meta.read_bytes() + b" ")
    done = export("simple", home, tmp_path / "ships", "--other-data", "--smoke")
    assert_refused(done, 3)
    assert "is damaged" in done.err


def test_weights_that_know_labels_ship_beside_those_that_do_not(tmp_path, call):
    generator, images = np.random.default_rng(5), {}
    for split, count in {"train": 16, "val": 4, "test": 6}.items():
        images[split] = generator.integers(0, 256, (count, 8, 8), np.uint8)
        images[f"{split}_labels"] = np.arange(count) % 3
    np.savez(tmp_path / "tiny.npz", **images)
    untrained(tmp_path, "simple", "tiny.npz", conditional=True, val_size=2)
    assert call("eval", "simple", "-k", "8", cwd=tmp_path).code == 0
    path = tmp_path / "runs/simple/config.json"
    content = json.loads(path.read_text())
    content["settings"]["dataset"] = "tiny.npz"
    path.write_text(json.dumps({**content, "init": {"run": "pretrained:simple"}}))
    folder = export_run("simple", tmp_path / "runs", to=tmp_path / "ships", other_data=True, smoke=True)
    assert folder.name == "simple-conditional"
    config = json.loads((folder / "config.json").read_text())
    assert config["run"] == "simple-conditional"
    measured = json.loads((folder / "results.json").read_text())["evaluations"]
    assert {each["split"]: each["images"] for each in measured} == {"val": 4, "test": 6}
    config["training"] |= {"seconds": 60.0, "train_images": 16}  # it was not really trained
    assert training_in_words(config).endswith(", from the weights of pretrained:simple")
    with pytest.raises(RunError, match="init"):
        training_in_words({**config, "init": 3})
