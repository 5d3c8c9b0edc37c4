"""Preset files: what they may say, how wrong ones are refused, and runs that do not need them any more."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nfcli.cli.complete import complete_preset
from nfcli.config import TrainConfig
from nfcli.errors import UsageError
from nfcli.flows import build
from nfcli.presets import PRESETS, GaussianNoise, MaskedCouplings, PartitionedCouplings, Preset, Split, Squeeze
from nfcli.presets.definition import define, parse_preset, read_preset
from tests.cli.conftest import SETTINGS, write_images
from tests.cli.program import assert_refused, contents, succeeds

EXAMPLES = Path(__file__).with_name("presets")

MASKED = '[[layers]]\nkind = "masked-couplings"\ncount = 2\nmask = "checkerboard"\nhidden = 8\n'
PARTITIONED = '[[layers]]\nkind = "partitioned-couplings"\ncount = 2\nmask = "channel"\nhidden = 8\n'

WRONG = [
    ("", "layers = [] is not possible"),
    ("layers", "is no TOML"),
    ("[" * 3000, "is no TOML"),
    ("a = 1\n" + MASKED, "has the unknown key 'a'"),
    ('"\\u001b[31m" = 1\n' + MASKED, r"has the unknown key '\x1b[31m'"),
    ("layers = 3", "layers = 3 is not possible"),
    ("layers = [3]", "layer 1 is not possible"),
    ("summary = 3\n" + MASKED, "summary = 3 is not possible"),
    ("recipe = 3\n" + MASKED, "[recipe] is not possible"),
    ("dequantization = 3\n" + MASKED, "[dequantization] is not possible"),
    (MASKED + "[[layers]]\n", "layer 2 has no kind"),
    (MASKED.replace("masked", "maske"), "unknown kind 'maske-couplings'"),
    (MASKED.replace('"masked-couplings"', "[1]"), "unknown kind [1]"),
    (MASKED.replace("hidden", "hiden"), "layer 1 (masked-couplings) has the unknown key 'hiden'"),
    (MASKED.replace("hidden = 8\n", ""), "layer 1 (masked-couplings) has no hidden"),
    (MASKED.replace("= 8", "= 0"), "hidden = 0 is not possible"),
    (MASKED.replace("= 8", "= true"), "hidden = True is not possible"),
    (MASKED.replace("= 8", "= 8.0"), "hidden = 8.0 is not possible"),
    (MASKED.replace("= 2", "= 99999999999999999999"), "count = 99999999999999999999 is not possible"),
    (MASKED.replace("checkerboard", "chess"), "mask = 'chess' is not possible"),
    (MASKED.replace('"checkerboard"', "4"), "mask = 4 is not possible"),
    ('[[layers]]\nkind = "squeeze"\n', "nothing to learn"),
    (MASKED + '[[layers]]\nkind = "squeeze"\nhidden = 8\n', "layer 2 (squeeze) has the unknown key 'hidden'"),
    (PARTITIONED + 'transformer = "spline"\n', "no components for its spline"),
    (PARTITIONED + "components = 4\n", "affine couplings have no components"),
    (PARTITIONED + "heads = 3\n", "hidden = 8 is no multiple of heads = 3"),
    (PARTITIONED + "rotate = 1\n", "rotate = 1 is not possible"),
    (MASKED + '[dequantization]\nkind = "uniform"\ncount = 3\n', "unknown key 'count'"),
    (MASKED + '[dequantization]\nkind = "gauss"\n', "unknown kind 'gauss'"),
    (MASKED + '[dequantization]\nkind = "variational"\ncount = 2\nhidden = 8\nmask = "channel"\n', "key 'mask'"),
    (MASKED + "[recipe]\nlearning_rat = 1\n", "[recipe] has the unknown key 'learning_rat'"),
    (MASKED + "[recipe]\nseed = 1\n", "[recipe] has the unknown key 'seed'"),
    (MASKED + "[recipe]\nlearning_rate = nan\n", "[recipe]: learning_rate = nan is not possible"),
    (MASKED + '[recipe]\nschedule = "linear"\n', "[recipe]: schedule = 'linear' is not possible"),
    (MASKED + "[reference]\nval_bpd = -1\n", "[reference]: val_bpd = -1 is not possible"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_file_is_refused(text, said, tmp_path, call):
    (tmp_path / "mine.toml").write_text(text)
    before = contents(tmp_path)
    done = call("train", "mine.toml", "--dry-run", cwd=tmp_path)
    assert_refused(done, 2)
    assert done.err.startswith("error: preset file mine.toml")
    assert said in done.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (MASKED.replace("hidden", "hiden"), "did you mean 'hidden'? keys: count, mask, hidden"),
        (MASKED.replace("masked", "maske"), "did you mean 'masked-couplings'? kinds: masked-couplings, partitioned"),
        (MASKED.replace("checkerboard", "chess"), "it must be checkerboard or channel"),
        (MASKED + "[recipe]\nlearning_rat = 1\n", "did you mean 'learning_rate'? keys: epochs, "),
    ],
)
def test_a_refusal_says_what_is_possible(text, hint, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError) as refused:
        read_preset(tmp_path / "mine.toml")
    assert refused.value.hint.startswith(hint)


def test_files_that_cannot_be_read_are_refused(tmp_path, call):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "long.toml").write_text("#" * 2**20 + MASKED)
    (tmp_path / "simple.toml").write_text(MASKED)
    for name in ("missing", "folder", "bytes", "long", "simple"):
        assert_refused(call("train", f"{name}.toml", "--dry-run", cwd=tmp_path), 2)


def test_images_that_a_preset_of_one_s_own_cannot_take_are_refused(tmp_path, call):
    write_images(tmp_path / "odd.npz", side=6, train=8, val=4, test=4)
    words = ("--dataset", "odd.npz", "--batch-size", "4", "--dry-run")
    squeeze = '[[layers]]\nkind = "squeeze"\n'
    for text, said in (
        (PARTITIONED, "1 channel has no two halves"),
        (squeeze + squeeze + PARTITIONED, "multiples of 4"),
        (PARTITIONED.replace("channel", "patch"), "1 channels are not those of 2x2 patches"),
        (squeeze + PARTITIONED.replace("channel", "checkerboard"), "a checkerboard of width 3"),
    ):
        (tmp_path / "mine.toml").write_text(text)
        done = call("train", "mine.toml", *words, cwd=tmp_path)
        assert_refused(done, 2)
        assert said in done.err


EVERYTHING = Preset(
    name="everything",
    summary="every kind of layer",
    layers=(
        MaskedCouplings(1, "checkerboard", 4),
        Squeeze(),
        PartitionedCouplings(3, "patch", 4, "mixture", components=2, blocks=1, heads=2, actnorm=False, rotate=False),
        Split(hidden=4),
        PartitionedCouplings(1, "checkerboard", 4, blocks=0),
        PartitionedCouplings(1, "channel", 4, "spline", components=3),
        Split(),
    ),
    dequantization=GaussianNoise(1, 4, 4, blocks=1),
    reference_val_bpd=None,
    reference_test_bpd=1.0,
    reference_parameters=None,
    recipe={"epochs": 3, "schedule": "cosine", "learning_rate": 1, "remat": True},
)


@pytest.mark.parametrize("preset", [*PRESETS.values(), EVERYTHING], ids=lambda preset: preset.name)
def test_a_definition_is_the_whole_preset(preset):
    """Also of `config.json`, which keeps it as JSON."""
    kept = json.loads(json.dumps(define(preset)))
    assert repr(parse_preset(preset.name, kept, "it")) == repr(preset)


def test_everything_makes_a_model_that_can_be_narrowed():
    assert build(EVERYTHING, (8, 8, 1)).num_parameters > 0
    odd = replace(EVERYTHING, layers=(PartitionedCouplings(1, "checkerboard", 30, heads=3),))
    assert odd.smoke_twin().layers[0].hidden == 9
    assert build(odd.smoke_twin(), (8, 8, 1)).num_parameters > 0


def test_a_recipe_gives_way_to_the_user(tmp_path):
    config = TrainConfig.of_preset(str(EXAMPLES / "glow.toml"), ema_decay=0.5)
    assert (config.preset, config.warmup_steps, config.ema_decay) == ("glow", 100, 0.5)
    assert config.run_name("mnist") == "glow"


def test_preset_files_complete(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.toml", "sim.toml", "other.txt", "[m].toml"):
        (tmp_path / name).touch()
    assert [word for word, _ in complete_preset("m")] == ["multiscale", "mixture", "mine.toml"]
    assert [word for word, _ in complete_preset("[")] == ["[m].toml"]
    assert [word for word, _ in complete_preset("./m")] == ["./mine.toml"]
    assert [word for word, _ in complete_preset(f"{tmp_path}/m")] == [f"{tmp_path}/mine.toml"]


@pytest.fixture(scope="module", params=["glow", "spline"])
def trained(request, tmp_path_factory):
    """A folder with a run of an example, whose file is gone."""
    home = tmp_path_factory.mktemp(request.param)
    write_images(home / "tiny.npz")
    shutil.copy(EXAMPLES / f"{request.param}.toml", home / "mine.toml")
    told = succeeds("train", "mine.toml", *SETTINGS, "--epochs", "1", "--json", cwd=home).json
    assert (told["preset"], told["run"], told["finished"]) == ("mine", "mine-tiny-smoke", True)
    (home / "mine.toml").unlink()
    return home, told, request.param


def test_a_run_does_not_need_its_preset_file(trained, tmp_path):
    home, told, _ = trained
    run = told["run"]
    measured = succeeds("eval", run, "-k", "2", "--batch-size", "16", "--json", cwd=home).json
    assert 0 < measured["splits"]["test"]["bpd"] < 30
    assert succeeds("interpolate", run, "--steps", "2", "--json", cwd=home).json["ends_exact"]
    again = ("train", "--config", home / "runs" / run / "config.json")
    more = succeeds(*again, "--runs-dir", tmp_path, "--epochs", "2", "--json", cwd=home).json
    assert (more["parameters"], more["epochs"], more["preset"]) == (told["parameters"], 2, "mine")


def test_the_same_content_continues_and_another_does_not(trained, call):
    home, told, example = trained
    text = (EXAMPLES / f"{example}.toml").read_text()
    before = contents(home / "runs")
    words = ("train", "mine.toml", *SETTINGS, "--epochs", "1", "--json")
    (home / "mine.toml").write_text(f"# In other words.\n{text}")
    assert succeeds(*words, cwd=home).json == told
    (home / "mine.toml").write_text(text.replace("count = 2", "count = 3"))
    done = call(*words, cwd=home)
    assert_refused(done, 2)
    assert "another model than preset 'mine' is now" in done.err
    (home / "mine.toml").unlink()
    assert contents(home / "runs") == before


def test_a_damaged_definition_is_refused(trained, tmp_path, call):
    home, told, _ = trained
    copy = Path(shutil.copytree(home, tmp_path / "copy"))
    path = copy / "runs" / told["run"] / "config.json"
    whole = json.loads(path.read_text())
    for damage in (3, {}, {**whole["model"]["definition"], "layers": []}, {**whole["model"]["definition"], "x": 1}):
        path.write_text(json.dumps({**whole, "model": {**whole["model"], "definition": damage}}))
        assert_refused(call("sample", told["run"], cwd=copy), 3)
        assert_refused(call("train", "--config", path, "--dry-run", cwd=copy), 2)
