"""What must hold of every layer and every flow, as functions that raise AssertionError."""

from __future__ import annotations

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from nfcli.flows import build
from nfcli.flows import dequantization as dequantization_module
from nfcli.flows import gaussian_noise as gaussian_module
from nfcli.flows.gaussian_noise import GaussianDequantization
from nfcli.flows.prior import standard_normal_log_prob
from nfcli.presets import MaskedCouplings, Preset
from tests.flows.parameters import random_parameters


def check_log_det(forward, x, *others, tolerance):
    """The `ldj` that `forward` reports is the log-determinant of its autodiff Jacobian, image by image.

    Args:
        forward: (B, ...) and other batched arrays to (a tree of (B, ...), (B,)).
        x: (B, ...), what is differentiated by.
        others: Further batched arguments.
        tolerance: Relative and absolute.

    Returns:
        What `forward` makes of `x`.
    """

    @jax.jit
    def row(direction, x, *others):
        """Of the Jacobian of each image; what an image does to another one would be seen in it, too."""

        def outputs(x):
            z, ldj = forward(x, *others)
            return jnp.concatenate([leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(z)], axis=1), (z, ldj)

        flat, pullback, found = jax.vjp(outputs, x, has_aux=True)
        return found, pullback(jnp.broadcast_to(direction, flat.shape))[0]

    # One small program, called for each output: tracing and compiling all of them at once takes longest by far.
    results = [row(direction, x, *others) for direction in np.eye(x[0].size, dtype=x.dtype)[:, None]]
    z, ldj = results[0][0]
    assert ldj.shape == (len(x),)
    assert ldj.dtype == x.dtype
    jacobian = np.stack([np.asarray(of_each, np.float64).reshape(len(x), -1) for _, of_each in results], axis=1)
    np.testing.assert_allclose(ldj, np.linalg.slogdet(jacobian).logabsdet, rtol=tolerance, atol=tolerance)
    return z


def check_inverse(layer, x, *others, tolerance, z=None):
    """`inverse(forward(x))` is x; `z` is `forward(x)`, where it is known."""
    z = jax.jit(layer.forward)(x, *others)[0] if z is None else z
    back = jax.jit(layer.inverse)(z, *others)
    assert back.shape == x.shape
    np.testing.assert_allclose(back, x, rtol=tolerance, atol=tolerance)


def check_dequantized_log_det(dequantization, transform, x, u, *, labels=None, tolerance):
    """The whole path from noise to latents, for fixed images: `dequantize`, then the transform.

    Keeping noise off the edges of a bin counts as a rounding: gradients pass through it, and the density belongs to the
    noise before it. So the log-determinant still holds exactly.

    Args:
        dequantization, transform: Of a flow.
        x: (B, H, W, C) integers.
        u: (B, H, W, C) noise, in the place of what would be drawn: uniform, or normal where it starts from that.
        labels: (B, classes) weights, of a class-conditional flow.
        tolerance: Relative and absolute.
    """

    def forward(u, x, *labels):
        with (
            mock.patch.object(dequantization_module, "uniform_noise", return_value=u),
            mock.patch.object(gaussian_module, "normal_noise", return_value=u),
        ):
            y, ldj = dequantization.dequantize(x, None, u.dtype, *labels)
        if isinstance(dequantization, GaussianDequantization):
            # Its density counts from the normal start, whose own density is no part of the map.
            ldj = ldj + standard_normal_log_prob(u)
        z, step = transform.forward(y, *labels)
        return z, ldj + step

    given = () if labels is None else (labels,)
    check_log_det(forward, u, jnp.asarray(x), *given, tolerance=tolerance)


def check_prior(tolerance=1e-6):
    """The prior is the standard normal, and integrates to 1."""
    z = np.linspace(-9, 9, 1801)
    log_prob = np.asarray(standard_normal_log_prob(jnp.asarray(z, jnp.float32)[:, None, None, None]), np.float64)
    np.testing.assert_allclose(log_prob, -(z**2) / 2 - np.log(2 * np.pi) / 2, rtol=tolerance, atol=tolerance)
    assert abs(special.logsumexp(log_prob) + np.log(z[1] - z[0])) < tolerance
    pair = standard_normal_log_prob(jnp.asarray([[[[0.5, -1.0]]], [[[0.0, 2.0]]]]))
    np.testing.assert_allclose(pair, [-0.625 - np.log(2 * np.pi), -2 - np.log(2 * np.pi)], rtol=tolerance)


def check_one_pixel(levels, maps, *, dtype, tolerance, noise=None, values=None, nodes=2**13):
    """A flow of one pixel against its closed form, by the average over a grid of noises.

    A 1x1 image conditions nothing, so the coupling is `z = (y + t) exp(s)`, and the integral over the noise is a
    difference of two values of the normal distribution's Phi. Learned noise, `n = (logit(u) + t') exp(s')` then a
    sigmoid, covers all of the bin but what the squash of the logit keeps it from.

    Args:
        levels: Number of values that the pixel can have.
        maps: Pairs of s and t, for which one program is compiled.
        dtype: Of all that is computed.
        tolerance: Relative and absolute.
        noise: s' and t', None for uniform noise.
        values: Of the pixel; five of them by default.
        nodes: Of the grid.
    """
    one = MaskedCouplings(1, "checkerboard", 2)
    model = build(Preset("pixel", "", (one,), noise and one, 0, 0, 0), (1, 1, 1), levels=levels)
    parameters = random_parameters(model, dtype=dtype)
    ends = np.array([0.0, 1.0])
    if noise is not None:
        set_affine(parameters["dequantization"]["couplings"]["0"], *noise)
        squashed = special.logit(ends * (1 - model.alpha) + model.alpha / 2)
        ends = special.expit((squashed + noise[1]) * np.exp(noise[0]))
    values = np.unique(np.linspace(0, levels - 1, 5).astype(int)) if values is None else np.array(values)
    edges = (values[:, None] + ends) / levels * (1 - model.alpha) + model.alpha / 2
    grid = ((np.arange(nodes) + 0.5) / nodes).astype(dtype)[:, None, None, None]
    log_prob = jax.jit(lambda parameters, value: model.log_prob(parameters, jnp.full(grid.shape, value), None))
    for s, t in maps:
        z = (special.logit(edges) + t) * np.exp(s)
        z = np.where(z[:, :1] > 0, -z[:, ::-1], z)  # the tail where a difference keeps its digits
        want = np.log(special.ndtr(z[:, 1]) - special.ndtr(z[:, 0]))
        set_affine(parameters["transform"]["levels"]["0"]["0"], s, t)
        with mock.patch.object(dequantization_module, "uniform_noise", return_value=jnp.asarray(grid)):
            draws = [np.asarray(log_prob(parameters, value), np.float64) for value in values]
        got = special.logsumexp(np.array(draws), axis=1) - np.log(len(grid))
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def set_affine(coupling, s, t):
    """Make a coupling's network say the same scale and shift for every input."""
    dtype, limit, out = coupling["scaling_factor"].dtype, 1 + 2 * abs(s), coupling["network"]["conv_out"]
    coupling["scaling_factor"] = np.array([np.log(limit)], dtype)
    out["kernel"] = np.zeros(out["kernel"].shape, dtype)
    out["bias"] = np.array([np.arctanh(s / limit) * limit, t], dtype)
