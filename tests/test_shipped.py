"""The weights that ship: whole, what they say they are, small enough, and from nowhere in particular."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.backend.programs import without_cache
from nfcli.cli.tables import for_people
from nfcli.data import load_dataset
from nfcli.evaluation.bound import BoundEvaluator
from nfcli.flows.networks import PLAIN, ComputePolicy
from nfcli.presets import PRESETS
from nfcli.pretrained.export import check_portable
from nfcli.runs.comparison import compare
from nfcli.runs.per_image import load_per_image
from nfcli.runs.pretrained import MOST_BYTES, TRAINING, list_pretrained, pretrained_dir
from nfcli.runs.restore import restore
from nfcli.runs.results import load_results
from nfcli.runs.schema import check_fields
from tests.sharing import made_once

PRETRAINED = list_pretrained(Path("runs"))

mnist = functools.cache(lambda: load_dataset("mnist"))
trained_of = functools.cache(lambda run: restore(run, refuse))

each = pytest.mark.parametrize("run", PRETRAINED, ids=lambda run: run.path.name)


def refuse(what):
    raise AssertionError(what)


def measurement(run):
    """Of the test images, as `nf compare` shows it."""
    return [evaluation for evaluation in load_results(run).evaluations if evaluation.split == "test"][-1]


def test_all_together_are_small_enough():
    files = [path for run in PRETRAINED for path in run.path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_the_table_of_them_fits_80_columns():
    table = for_people(compare([run.name for run in PRETRAINED], Path("runs"), importance_samples=8))
    assert all(run.name in table for run in PRETRAINED)
    assert max(map(len, table.splitlines())) <= 80


def test_nothing_was_left_by_an_export():
    assert not list(pretrained_dir().glob(".*"))


@each
def test_weights_are_whole_and_of_the_preset(run):
    trained = trained_of(run)
    name, _, conditional = run.path.name.partition("-")
    preset, model = PRESETS[name], trained.config["model"]
    assert (model["preset"], model["classes"]) == (name, 10 if conditional else 0)
    assert conditional in ("", "conditional")
    arrays = jax.tree.leaves(trained.parameters)
    assert sum(array.size for array in arrays) == model["parameters"]
    assert (model["parameters"] == preset.reference_parameters) == (not conditional)
    assert trained.checkpoint.step == trained.checkpoint.best_step
    assert all(np.isfinite(array).all() for array in arrays)


@each
def test_config_is_of_mnist_and_says_what_it_took(run):
    config = run.config()
    check_fields(config, TRAINING)
    assert (config["data"]["source"], config["data"]["fingerprint"]) == ("mnist", mnist().fingerprint)
    assert not config["model"]["smoke"]
    assert config["training"]["seconds"] > 60
    # What `nf train --config` would start from is what this one started from.
    assert config["settings"].get("init") == config.get("init", {}).get("run")
    check_portable(run.path, [Path(__file__).parents[2], Path.home()])


@each
def test_measured_on_all_test_images(run):
    test = measurement(run)
    assert (test.images, test.importance_samples) == (10_000, 8)
    assert test.split_fingerprint == mnist().test.fingerprint
    assert test.checkpoint_step == trained_of(run).checkpoint.step
    assert 0.5 < test.bpd <= test.elbo_bpd < 2
    assert 0 < test.bpd_stderr < 0.01
    assert len(load_per_image(run, test)["bpd"]) == 10_000
    assert run.results()["run"] == run.path.name


@pytest.mark.parametrize("run", PRETRAINED[:1], ids=lambda run: run.path.name)
def test_a_measurement_can_be_repeated(run):
    trained, known = trained_of(run), measurement(run)
    images = mnist().test.images[:16]
    again = BoundEvaluator(trained.model, 16, devices=1)(trained.parameters, images, samples=8, seed=known.seed)
    np.testing.assert_allclose(again.bpd, load_per_image(run, known)["bpd"][:16], atol=1e-3, rtol=0)


def bits(policy):
    """Bits per dimension of real digits by trained weights, with the same noise however networks are computed."""
    (run,) = (run for run in PRETRAINED if run.path.name == "multiscale")
    trained = trained_of(run)
    model, images, keys = trained.model.with_policy(policy), mnist().test.images[:128], jax.random.key(1)
    log_prob = jax.jit(model.log_prob)(trained.parameters, images, jax.random.split(keys, len(images)))
    return -np.asarray(log_prob) / (model.dimensions * np.log(2))


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """In single precision."""
    return np.array(made_once(tmp_path_factory, "in-single-precision", lambda _: bits(PLAIN).tolist())[1])


def test_networks_in_half_precision_cost_less_than_a_thousandth_of_a_bit(single):
    rounded = bits(ComputePolicy(dtype=jnp.dtype(jnp.bfloat16)))
    assert np.any(single != rounded)
    assert abs(np.mean(rounded - single)) < 1e-3


def test_networks_by_onednn_cost_less_than_a_thousandth_of_a_bit_or_nothing(onednn_type, single):
    with without_cache():
        rounded = bits(ComputePolicy(jnp.dtype(onednn_type), onednn=True))
    assert np.any(single != rounded)
    assert abs(np.mean(rounded - single)) < {"bfloat16": 1e-3, "float32": 1e-6}[onednn_type]
