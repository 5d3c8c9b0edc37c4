"""Checkpoints of the course's notebook become runs: every array has its place, and other files are refused."""

from __future__ import annotations

import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax.serialization import msgpack_serialize
from flax.traverse_util import flatten_dict

from nfcli.config import TrainConfig
from nfcli.errors import UsageError
from nfcli.flows import build
from nfcli.presets import get_preset
from nfcli.pretrained.course import main
from nfcli.runs import find_run
from nfcli.runs.restore import restore
from nfcli.training.continuing import enter_run
from nfcli.training.setup import prepare_job

FLOWS = {
    "simple": {("0", index): index + 1 for index in range(8)},
    "vardeq": {("0", index): index + 1 for index in range(8)},
    # Squeezes and the split count in the course; ours counts squeezes, and starts again after the split.
    "multiscale": {
        **{("0", index): number for index, number in zip((0, 1, 3, 4), (1, 2, 4, 5), strict=True)},
        **{("1", index): index + 7 for index in range(1, 5)},
    },
}
"""Our scale and position of each coupling, and the course's number."""


def course_name(preset: str, name: str) -> str:
    """The course's name of one of our parameters, written down from the other side."""
    if place := re.fullmatch(r"transform/levels/(\d)/(\d+)/(.*)", name):
        flow, rest = f"flows_{FLOWS[preset][place[1], int(place[2])]}", place[3]
    else:
        place = re.fullmatch(r"dequantization/couplings/(\d)/(.*)", name)
        flow, rest = f"flows_0/var_flows_{place[1]}", place[2]
    rest = rest.replace("network/conv_in", "network/nn/layers_0").replace("network/conv_out", "network/nn/layers_8")
    rest = re.sub(r"network/blocks/(\d)/", lambda found: f"network/nn/layers_{2 * int(found[1]) + 1}/", rest)
    rest = re.sub(r"network/norms/(\d)/", lambda found: f"network/nn/layers_{2 * int(found[1]) + 2}/", rest)
    return f"{flow}/{rest.replace('/conv/', '/Conv_0/').replace('/gate/', '/Conv_1/')}"


def nested(leaves: dict[str, np.ndarray]) -> dict:
    tree: dict = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def some_parameters(preset: str) -> dict[str, np.ndarray]:
    shapes = flatten_dict(build(get_preset(preset), (28, 28, 1)).parameter_shapes(), sep="/")
    generator = np.random.default_rng(0)
    return {name: generator.standard_normal(leaf.shape).astype(np.float32) for name, leaf in shapes.items()}


@pytest.mark.parametrize(("preset", "below"), [("simple", "params"), ("vardeq", None), ("multiscale", "params")])
def test_every_array_has_its_place(preset, below, tmp_path, capsys):
    parameters = some_parameters(preset)
    content = nested({course_name(preset, name): leaf for name, leaf in parameters.items()})
    (tmp_path / "course").write_bytes(msgpack_serialize({below: content} if below else content))
    assert main([str(tmp_path / "course"), "mine", "--runs-dir", str(tmp_path / "runs")]) == 0
    assert f"preset {preset}" in capsys.readouterr().out
    trained = restore(find_run("mine", tmp_path / "runs"))
    assert trained.model.preset.name == preset
    jax.tree.map(np.testing.assert_array_equal, trained.parameters, nested(parameters))


def test_a_run_that_is_there_is_kept(tmp_path, capsys):
    parameters = some_parameters("simple")
    content = nested({course_name("simple", name): leaf for name, leaf in parameters.items()})
    (tmp_path / "course").write_bytes(msgpack_serialize(content))
    words = [str(tmp_path / "course"), "mine", "--runs-dir", str(tmp_path)]
    assert main(words) == 0
    before = find_run("mine", tmp_path).config()["id"]
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert find_run("mine", tmp_path).config()["id"] == before
    assert main([*words, "--overwrite"]) == 0
    assert find_run("mine", tmp_path).config()["id"] != before


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 3),
        (b"no msgpack at all", 3),
        (msgpack_serialize({"params": {}}), 3),
        (msgpack_serialize({"params": {"flows_1": "text"}}), 3),
        (msgpack_serialize({"params": {"flows_1": {"scaling_factor": np.zeros(1, np.float32)}}}), 2),
        (None, 3),
    ],
)
def test_other_files_are_refused(content, code, tmp_path, capsys):
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    assert main([str(file), "mine", "--runs-dir", str(tmp_path / "runs")]) == code
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "runs").exists()


def test_a_run_made_so_is_not_continued(tmp_path):
    parameters = some_parameters("simple")
    content = nested({course_name("simple", name): leaf for name, leaf in parameters.items()})
    (tmp_path / "course").write_bytes(msgpack_serialize(content))
    assert main([str(tmp_path / "course"), "mine", "--runs-dir", str(tmp_path)]) == 0
    config = TrainConfig("simple", name="mine", runs_dir=tmp_path, network_dtype="float32")
    with pytest.raises(UsageError, match="cannot be continued") as refused:
        enter_run(prepare_job(config), print)
    assert "--init mine" in refused.value.hint
    # Which is no empty promise.
    assert prepare_job(replace(config, name="tuned", init="mine")).init.run.name == "mine"
