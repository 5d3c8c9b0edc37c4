"""The parts of images, and what goes into and out of the networks of partitioned couplings."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.flows.assembly import Assembly
from nfcli.flows.coupling import PartitionedCoupling
from nfcli.flows.initializers import Initializer
from nfcli.flows.networks import PLAIN, GatedAttention
from nfcli.flows.partitions import make_mask, partition, unpartition
from nfcli.flows.reshaping import Squeeze as SqueezeLayer
from nfcli.flows.transformers import Affine
from nfcli.presets import PRESETS, PartitionedCouplings, Squeeze
from nfcli.presets.layers import partition_shapes
from tests.flows.layers import LAYERS
from tests.flows.parameters import randomized


@pytest.mark.parametrize(
    ("shape", "mask"), [((3, 4, 2), "checkerboard"), ((2, 3, 5), "channel"), ((1, 2, 1), "checkerboard")]
)
def test_halves_are_those_of_the_mask(shape, mask):
    x = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)
    first, second = partition(jnp.asarray(x), mask)
    assert (first.shape[1:], second.shape[1:]) == partition_shapes(shape, mask)
    ones = np.broadcast_to(make_mask(mask, shape)[0], shape) == 1
    for image, half, rest in zip(x, first, second, strict=True):
        assert sorted(np.ravel(half)) == sorted(image[ones])
        assert sorted(np.ravel(rest)) == sorted(image[~ones])
    np.testing.assert_array_equal(unpartition(first, second, mask), x)


def test_checkerboard_keeps_rows_and_neighbours():
    x = jnp.arange(8.0).reshape(1, 2, 4, 1)
    first, second = partition(x, "checkerboard")
    assert first[0, :, :, 0].tolist() == [[1, 3], [4, 6]]
    assert second[0, :, :, 0].tolist() == [[0, 2], [5, 7]]


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_are_those_of_the_squeeze(channels):
    whole = np.arange(4.0 * 6 * channels, dtype=np.float32).reshape(1, 4, 6, channels)
    squeezed, _ = SqueezeLayer().forward(whole)
    rows, columns = np.indices((4, 6)) % 2
    for kind, ones in (("rows", rows == 0), ("columns", columns == 0), ("diagonals", rows == columns)):
        first, second = partition(squeezed, kind)
        assert (first.shape[1:], second.shape[1:]) == partition_shapes(squeezed.shape[1:], kind)
        assert sorted(np.ravel(first)) == sorted(np.ravel(whole[0][ones]))
        assert sorted(np.ravel(second)) == sorted(np.ravel(whole[0][~ones]))
        np.testing.assert_array_equal(unpartition(first, second, kind), squeezed)


def test_patch_couplings_take_turns():
    layers = (Squeeze(), PartitionedCouplings(7, "patch", 4, blocks=0, actnorm=False, rotate=False))
    preset = replace(PRESETS["simple"], layers=layers)
    assembly = Assembly(preset, (4, 4, 1), levels=256, alpha=1e-5, classes=0, policy=PLAIN)
    couplings = list(assembly.make(Initializer()).transform.levels[0])[1:]
    halves = [(layer.mask, layer.invert) for layer in couplings]
    assert halves[:6] == [(kind, swapped) for kind in ("rows", "columns", "diagonals") for swapped in (False, True)]
    assert halves[6] == ("rows", False)


def test_no_patches_of_six_channels():
    with pytest.raises(ValueError, match="6 channels"):
        partition_shapes((2, 2, 6), "rows")


def test_no_checkerboard_of_odd_width():
    with pytest.raises(ValueError, match="width 3"):
        partition_shapes((2, 3, 1), "checkerboard")


@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith(("partitioned", "mixture", "spline"))])
def test_one_half_passes_and_the_other_depends_on_it(name):
    case = LAYERS[name]
    layer, inputs = case.make(), case.inputs(1)

    @jax.jit
    def seen_and_changed(more, x, *context):
        """Before and after, with so much more in what is seen."""
        seen, changed = layer._order(*partition(x, layer.mask))
        z, _ = layer.forward(unpartition(*layer._order(seen + more, changed), layer.mask), *context)
        return seen, *layer._order(*partition(z, layer.mask))

    seen, seen_after, changed_after = seen_and_changed(0.0, *inputs)
    np.testing.assert_array_equal(seen, seen_after)
    assert np.all(seen_and_changed(1.0, *inputs)[2] != changed_after)


def test_a_checkerboard_sees_the_context_of_all_pixels():
    layer = randomized(
        lambda weights: PartitionedCoupling(
            (4, 4, 1),
            mask="checkerboard",
            invert=False,
            transformer=Affine(),
            hidden=4,
            blocks=0,
            context_channels=1,
            initializer=weights,
        )
    )
    x = jnp.ones((1, 4, 4, 1))
    moved = jax.jit(jax.grad(lambda context: jnp.sum(layer.forward(x, context)[0])))(jnp.ones((1, 4, 4, 1)))
    assert np.all(moved != 0)


def test_attention_looks_everywhere_and_knows_places():
    layer = randomized(lambda weights: GatedAttention(4, 2, (2, 3), weights, PLAIN))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 2, 3, 4)), jnp.float32)
    attend = jax.jit(layer)
    reach = jax.jit(jax.jacrev(lambda x: layer(x)[0, 0, 0]))(x)
    assert np.all(np.any(np.asarray(reach) != 0, axis=(0, 4)))
    np.testing.assert_array_less(1e-4, np.max(np.abs(np.asarray(attend(x[:, ::-1]))[:, ::-1] - attend(x))))
