"""How steps reach the devices.

On CPU one at a time, its images copied from the host: a convolution's gradient inside a loop is compiled to naive code
there (jax issue 12868). On an accelerator many at a time, with all images resident, so that it need not wait for the
host between steps.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nfcli.backend.mesh import batched, compiler_options, replicate, replicated, shard
from nfcli.data.store import AnyImages
from nfcli.training.step import News, State, TrainStep

Examples = Sequence[AnyImages]
"""The images and, for a class-conditional model, their labels, by the same indices."""

STEPS_PER_DISPATCH = 50
"""On an accelerator. Signals and time limits are looked at between two dispatches."""

LARGEST_RESIDENT = 4 * 2**30
"""Bytes of images; more of them stay on the host."""


class OneByOne:
    """A step a dispatch.

    Args:
        step: Of the run.
        examples: (N, H, W, C) integers on the host and, for a class-conditional model, (N,) labels.
    """

    per_dispatch = 1

    def __init__(self, step: TrainStep, examples: Examples) -> None:
        self.step, self.examples = step, examples

    def fetch(self) -> None:
        """Begin to load the program, if it was compiled before."""
        self.step.fetch()

    def compile(self, state: State) -> None:
        """Compile before the clock starts, or load what was compiled before."""
        self.step.compile(state)

    def __call__(self, state: State, chosen: np.ndarray) -> tuple[State, News]:
        """One step on the images of indices `chosen`, (1, batch); the state that was given is used up."""
        mesh, size = self.step.mesh, chosen.shape[1]
        batch = [shard(mesh, size, lambda rows, of=of: of[chosen[0][rows]]) for of in self.examples]  # type: ignore[misc]
        return self.step(state, *batch)


class ManyAtOnce:
    """Up to `per_dispatch` steps in one call, on images that live on every device.

    The number of steps is an argument of one program, so results do not depend on how an epoch is cut into calls.
    """

    def __init__(self, step: TrainStep, examples: Examples, per_dispatch: int) -> None:
        # An epoch is the most that is asked for at a time.
        self.step, self.per_dispatch = step, min(per_dispatch, step.steps_per_epoch)
        self.examples = replicate(step.mesh, tuple(np.asarray(of) for of in examples))

    def fetch(self) -> None:
        """Nothing: jax's own cache is looked at when it is compiled."""

    def compile(self, state: State) -> None:
        """Compile before the clock starts."""
        same, options = replicated(self.step.mesh), compiler_options(self.step.mesh)
        steps = jax.jit(self._steps, donate_argnums=0, in_shardings=same, out_shardings=same, compiler_options=options)
        none_chosen = np.zeros((0, self.step.config.batch_size), int)
        self._compiled = steps.lower(state, *self._arguments(none_chosen)).compile()

    def __call__(self, state: State, chosen: np.ndarray) -> tuple[State, News]:
        """Steps on the images of indices `chosen`, (steps, batch); the state that was given is used up."""
        return self._compiled(state, *self._arguments(chosen))

    def _arguments(self, chosen: np.ndarray) -> tuple[Any, ...]:
        order = np.zeros((self.per_dispatch, self.step.config.batch_size), np.int32)
        order[: len(chosen)] = chosen
        return self.step.key, self.examples, *replicate(self.step.mesh, (order, np.int32(len(chosen))))

    def _steps(
        self, state: State, key: Array, examples: tuple[Array, ...], order: Array, count: Array
    ) -> tuple[State, News]:
        def body(index: Array, carry: tuple[State, News]) -> tuple[State, News]:
            chosen = [of[order[index]] for of in examples]
            batch = jax.lax.with_sharding_constraint(chosen, batched(self.step.mesh))
            following, (loss, in_a_row) = self.step.map_state(carry[0], key, *batch)
            return following, (loss, jnp.maximum(carry[1][1], in_a_row))

        return jax.lax.fori_loop(0, count, body, (state, (jnp.float32(0), jnp.int32(0))))


def make_dispatch(step: TrainStep, examples: Examples, per_dispatch: int | None) -> OneByOne | ManyAtOnce:
    """The way that fits the platform and the images.

    Args:
        step: Of the run.
        examples: (N, H, W, C) integers and, for a class-conditional model, (N,) labels.
        per_dispatch: Steps a dispatch; None for automatic.
    """
    if per_dispatch is None:
        accelerated = step.mesh.devices.flat[0].platform != "cpu" and examples[0].nbytes <= LARGEST_RESIDENT
        per_dispatch = STEPS_PER_DISPATCH if accelerated else 1
    return OneByOne(step, examples) if per_dispatch == 1 else ManyAtOnce(step, examples, per_dispatch)
