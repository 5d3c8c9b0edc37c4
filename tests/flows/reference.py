"""The models once more, in plain numpy and float64, from their formulas: nothing here comes from nfcli.

Parameters are nested dictionaries, images NHWC. Each function returns what it computes and, where there is one, the
log-determinant of each image.
"""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def concat_elu(x):
    return np.concatenate([elu(x), elu(-x)], axis=-1)


def convolution(parameters, x):
    """Stride 1, zeros around, odd kernels: `out[i, j]` sums `x[i + a - 1, j + b - 1] K[a, b]` for 3x3."""
    kernel, bias = parameters["kernel"], parameters["bias"]
    size, (height, width) = kernel.shape[0], x.shape[1:3]
    padded = np.pad(x, [(0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)])
    out = np.zeros((*x.shape[:3], kernel.shape[-1])) + bias
    for row in range(size):
        for column in range(size):
            out += padded[:, row : row + height, column : column + width] @ kernel[row, column]
    return out


def layer_norm(parameters, x, eps=1e-6):
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * parameters["scale"] + parameters["bias"]


def gated_block(parameters, x):
    hidden = convolution(parameters["conv"], concat_elu(x))
    value, gate = np.split(convolution(parameters["gate"], concat_elu(hidden)), 2, axis=-1)
    return x + value * sigmoid(gate)


def network(parameters, x):
    x = convolution(parameters["conv_in"], x)
    for index in sorted(parameters.get("blocks", ())):
        x = layer_norm(parameters["norms"][index], gated_block(parameters["blocks"][index], x))
    return convolution(parameters["conv_out"], concat_elu(x))


def mask_of(kind, shape):
    """1 passes through and conditions, 0 is transformed."""
    height, width, channels = shape
    if kind == "checkerboard":
        return np.array([[[(i + j) % 2] for j in range(width)] for i in range(height)])
    return np.array([1.0] * (channels // 2) + [0.0] * (channels - channels // 2))


def coupling(parameters, z, mask, context=None):
    """`z <- (z + t) exp(s)`, `ldj = sum(s)`."""
    seen = z * mask if context is None else np.concatenate([z * mask, context], axis=-1)
    s, t = np.split(network(parameters["network"], seen), 2, axis=-1)
    f = np.exp(parameters["scaling_factor"])
    s = np.tanh(s / f) * f * (1 - mask)
    return (z + t * (1 - mask)) * np.exp(s), s.sum(axis=(1, 2, 3))


def couplings(stack, z, kind, context=None):
    """A stack: every other one uses the inverted mask, the first the mask as it is."""
    ldj, mask = 0.0, mask_of(kind, z.shape[1:])
    for index, parameters in enumerate(stack):
        z, step = coupling(parameters, z, 1 - mask if index % 2 else mask, context)
        ldj = ldj + step
    return z, ldj


def squeeze(x):
    """2x2 patches become channels: row by row inside a patch, the channels of one pixel together."""
    corners = [x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return np.concatenate(corners, axis=-1)


def logit(v, alpha):
    v = v * (1 - alpha) + alpha / 2
    dimensions = v[0].size
    ldj = dimensions * np.log(1 - alpha) + (-np.log(v) - np.log(1 - v)).sum(axis=(1, 2, 3))
    return np.log(v) - np.log(1 - v), ldj


def dequantize_uniform(x, u, levels, alpha):
    y, ldj = logit((x + u) / levels, alpha)
    return y, ldj - x[0].size * np.log(levels)


def off_shared_edges(x, u, levels, edge):
    """The middle of a bin's last stretch stands for all of it, where another value begins."""
    u = np.where((x > 0) & (u < edge), edge / 2, u)
    return np.where((x < levels - 1) & (u > 1 - edge), 1 - edge / 2, u)


def variational_noise(stack, x, u, levels, alpha):
    """Uniform noise to learned noise, and minus its log-density."""
    n, ldj = logit(u, alpha)
    n, step = couplings(stack, n, "checkerboard", x / (levels - 1) * 2 - 1)
    v = sigmoid(n)
    ldj = ldj + step + (np.log(v) + np.log(1 - v)).sum(axis=(1, 2, 3))
    return v, ldj


def log_normal(z):
    return (-(z**2) / 2 - np.log(2 * np.pi) / 2).sum(axis=(1, 2, 3))


def in_order(tree):
    """A list's parameters by number, as a list; other names are left out."""
    return [tree[name] for name in sorted((name for name in tree if name.isdigit()), key=int)]


def log_prob(preset, parameters, x, u, *, levels, alpha, edge):
    """`log p(x + u) - log q(u | x)` of each image, u being the uniform noise at the start."""
    log_p = 0.0
    if preset.dequantization is not None:
        stack = in_order(parameters["dequantization"]["couplings"])
        u, log_p = variational_noise(stack, x, u, levels, alpha)
    z, ldj = dequantize_uniform(x, off_shared_edges(x, u, levels, edge), levels, alpha)
    log_p, level, place = log_p + ldj, 0, 0
    for layer in preset.layers:
        if type(layer).__name__ == "MaskedCouplings":
            tree = parameters["transform"]["levels"][str(level)]
            stack = [tree[str(place + index)] for index in range(layer.count)]
            z, ldj = couplings(stack, z, layer.mask)
            log_p, place = log_p + ldj, place + layer.count
        elif type(layer).__name__ == "Squeeze":
            z, place = squeeze(z), place + 1
        else:
            half = z.shape[-1] // 2
            log_p, z, level, place = log_p + log_normal(z[..., half:]), z[..., :half], level + 1, 0
    return log_p + log_normal(z)
