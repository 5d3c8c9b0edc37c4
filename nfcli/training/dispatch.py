"""How steps reach the devices.

On CPU one at a time, its images copied from the host: a convolution's gradient inside a loop is compiled to naive code
there (jax issue 12868). On an accelerator many at a time, with all images resident, so that it need not wait for the
host between steps.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nfcli.backend.mesh import batched, compiler_options, replicate, replicated, shard
from nfcli.data.store import AnyImages
from nfcli.training.step import State, TrainStep

News = tuple[Array, Array]
"""Loss of the last step, and how many of the latest steps were skipped in a row."""

STEPS_PER_DISPATCH = 50
"""On an accelerator. Signals and time limits are looked at between two dispatches."""

LARGEST_RESIDENT = 4 * 2**30
"""Bytes of images; more of them stay on the host."""


class OneByOne:
    """A step a dispatch.

    Args:
        step: Of the run.
        images: (N, H, W, C) integers on the host.
        labels: (N,) of a class-conditional model, None for another one.
    """

    per_dispatch = 1

    def __init__(self, step: TrainStep, images: AnyImages, labels: np.ndarray | None = None) -> None:
        self.step, self.images = step, images
        self.labels = None if labels is None else labels.astype(np.int32)

    def fetch(self) -> None:
        """Begin to load the program, if it was compiled before."""
        self.step.fetch()

    def compile(self, state: State) -> None:
        """Compile before the clock starts, or load what was compiled before."""
        self.step.compile(state)

    def __call__(self, state: State, chosen: np.ndarray) -> tuple[State, News]:
        """One step on the images of indices `chosen`, (1, batch); the state that was given is used up."""
        mesh, size, labels = self.step.mesh, chosen.shape[1], self.labels
        images = shard(mesh, size, lambda rows: self.images[chosen[0][rows]])
        if labels is None:
            return self.step(state, images)
        return self.step(state, images, shard(mesh, size, lambda rows: labels[chosen[0][rows]]))


class ManyAtOnce:
    """Up to `per_dispatch` steps in one call, on images that live on every device.

    The number of steps is an argument of one program, so results do not depend on how an epoch is cut into calls.
    """

    def __init__(self, step: TrainStep, images: AnyImages, per_dispatch: int, labels: np.ndarray | None = None) -> None:
        # An epoch is the most that is asked for at a time.
        self.step, self.per_dispatch = step, min(per_dispatch, step.steps_per_epoch)
        resident = np.asarray(images) if labels is None else (np.asarray(images), labels.astype(np.int32))
        self.examples = replicate(step.mesh, resident)
        same = replicated(step.mesh)
        self._compiled: Any = jax.jit(
            self._steps,
            donate_argnums=0,
            in_shardings=same,
            out_shardings=(same, same),
            compiler_options=compiler_options(step.mesh),
        )

    def fetch(self) -> None:
        """Nothing: jax's own cache is looked at when it is compiled."""

    def compile(self, state: State) -> None:
        """Compile before the clock starts."""
        self._compiled = self._compiled.lower(state, self.examples, *self._arguments(np.zeros((0, 0), int))).compile()

    def __call__(self, state: State, chosen: np.ndarray) -> tuple[State, News]:
        """Steps on the images of indices `chosen`, (steps, batch); the state that was given is used up."""
        result: tuple[State, News] = self._compiled(state, self.examples, *self._arguments(chosen))
        return result

    def _arguments(self, chosen: np.ndarray) -> tuple[Array, Array]:
        order = np.zeros((self.per_dispatch, self.step.config.batch_size), np.int32)
        order[: len(chosen), : chosen.shape[1]] = chosen
        arguments: tuple[Array, Array] = replicate(self.step.mesh, (order, np.int32(len(chosen))))
        return arguments

    def _steps(self, state: State, examples: Any, order: Array, count: Array) -> tuple[State, News]:
        def body(index: Array, carry: tuple[State, News]) -> tuple[State, News]:
            chosen = jax.tree.map(lambda all_: all_[order[index]], examples)
            batch = jax.lax.with_sharding_constraint(chosen, batched(self.step.mesh))
            return self.step.map_state(carry[0], *(batch if isinstance(batch, tuple) else (batch,)))

        return jax.lax.fori_loop(0, count, body, (state, (jnp.float32(0), jnp.int32(0))))


def make_dispatch(
    step: TrainStep, images: AnyImages, per_dispatch: int | None, labels: np.ndarray | None = None
) -> OneByOne | ManyAtOnce:
    """The way that fits the platform and the images.

    Args:
        step: Of the run.
        images: (N, H, W, C) integers.
        per_dispatch: Steps a dispatch; None for automatic.
        labels: (N,) of a class-conditional model, None for another one.
    """
    if per_dispatch is None:
        accelerated = step.mesh.devices.flat[0].platform != "cpu" and images.nbytes <= LARGEST_RESIDENT
        per_dispatch = STEPS_PER_DISPATCH if accelerated else 1
    return OneByOne(step, images, labels) if per_dispatch == 1 else ManyAtOnce(step, images, per_dispatch, labels)
