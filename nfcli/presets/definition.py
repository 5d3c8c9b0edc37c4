"""Presets as data: the format of preset files, which is that of the presets that nf brings along.

    nf train my_flow.toml

A file says how integers become real numbers, what layers follow from data to latent, and what the training is like
wherever the command line says nothing:

    summary = "Glow on two resolutions"

    [dequantization]
    kind = "variational"            # or "uniform", as without this table, or "gaussian"
    count = 2                       # couplings of the noise
    hidden = 16                     # channels of their networks; "gaussian" has `context` and `blocks` besides

    [[layers]]
    kind = "squeeze"                # 2x2 pixels become 4 times the channels

    [[layers]]
    kind = "partitioned-couplings"
    count = 8
    mask = "channel"                # or "checkerboard", or "patch" after a squeeze
    hidden = 64
    transformer = "affine"          # or "mixture" or "spline", each with so many `components`
    blocks = 3                      # gated blocks of a network
    heads = 0                       # of a self-attention after each block
    actnorm = true                  # before each coupling
    rotate = true                   # an invertible 1x1 convolution before each coupling

    [[layers]]
    kind = "split"                  # half of the channels are finished
    hidden = 32                     # of the network of a learned prior; without it a standard normal

    [[layers]]
    kind = "masked-couplings"       # RealNVP's
    count = 4
    mask = "channel"                # or "checkerboard"
    hidden = 64

    [recipe]                        # settings of `nf train`
    learning_rate = 2e-3
    ema_decay = 0.999

Keys with a value above that nobody has to give are those of `PartitionedCouplings`, `Split` and `GaussianNoise` with a
default in `nfcli.presets.layers`. `[reference]` holds the published `val_bpd` and `test_bpd`, and `parameters` on
28x28x1. The name of a preset is that of its file.
"""

import tomllib
from collections.abc import Container, Iterable, Mapping
from dataclasses import MISSING, Field, asdict, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from nfcli.errors import UsageError
from nfcli.limits import Check, Setting, anything, fits, quoted
from nfcli.presets import GaussianNoise, Layer, MaskedCouplings, PartitionedCouplings, Preset, Split, Squeeze
from nfcli.presets.layers import TRANSFORMERS

LAYERS: dict[str, Any] = {
    "masked-couplings": MaskedCouplings,
    "partitioned-couplings": PartitionedCouplings,
    "squeeze": Squeeze,
    "split": Split,
}

NOISES: dict[str, Any] = {"uniform": NoneType, "variational": MaskedCouplings, "gaussian": GaussianNoise}

FIXED = {"variational": {"mask": "checkerboard"}}
"""Of the fields of a kind, those that a file does not choose."""

REFERENCE = {each.name.removeprefix("reference_"): each for each in fields(Preset) if "reference_" in each.name}

MOST_LAYERS, MOST_BYTES = 256, 2**20

WORDS = {int: "a whole number", float: "a number", bool: "true or false"}
WORDS |= {str: "a text", dict: "a table", list: "a list of tables"}
"""What a value must be, where its type is one of these."""


def read_preset(path: Path, taken: Container[str] = ()) -> Preset:
    """The preset of a file, whose name must not be `taken`.

    Raises:
        UsageError: It cannot be read, or says something that makes no sense.
    """
    where = f"preset file {path}"
    if path.stem in taken:
        raise UsageError(f"{where} has the name of a preset of nf", hint="give the file another name")
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{where} is not a regular file", hint="give the path of a .toml file")
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{where} is larger than {MOST_BYTES // 2**20} MiB", hint="it is no preset")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is no TOML: {error}", hint="https://toml.io describes the format") from error
    return parse_preset(path.stem, content, where)


def parse_preset(name: str, content: Mapping[str, Any], where: str) -> Preset:
    """The preset that a table describes.

    Args:
        name: Of the preset.
        content: As a file has it, or `define` gives it.
        where: It comes from, for messages.

    Raises:
        UsageError: It says something that makes no sense.
    """
    from nfcli.config import RECIPE, TrainConfig

    usual = {"summary": name, "dequantization": {"kind": "uniform"}, "layers": [], "recipe": {}, "reference": {}}
    check_value(where, "", content, dict)
    check_keys(where, content, usual)
    content = {**usual, **content}
    check_value(where, "summary", content["summary"], str)
    check_value(where, "layers", content["layers"], list, _count)
    layers = tuple(_of_kind(f"{where}, layer {at}", table, LAYERS) for at, table in enumerate(content["layers"], 1))
    if not any(isinstance(layer, MaskedCouplings | PartitionedCouplings) for layer in layers):
        raise UsageError(f"{where} has nothing to learn in its [[layers]]", hint="it needs couplings")
    reference = _read(f"{where}, [reference]", content["reference"], REFERENCE)
    dequantization = _of_kind(f"{where}, [dequantization]", content["dequantization"], NOISES)
    settings = {each.name: each for each in fields(TrainConfig)}
    recipe = _read(f"{where}, [recipe]", content["recipe"], {name: settings[name] for name in RECIPE})
    published = {f"reference_{name}": value for name, value in reference.items()}
    return Preset(name, content["summary"], layers, dequantization, recipe=recipe, **published)


def _count(tables: list[Any]) -> str | None:
    return None if 1 <= len(tables) <= MOST_LAYERS else f"1 to {MOST_LAYERS} tables [[layers]]"


def define(preset: Preset) -> dict[str, Any]:
    """What `parse_preset` makes the same model of, with every default written out; for config.json."""
    published = {name: getattr(preset, field.name) for name, field in REFERENCE.items()}
    return {
        "summary": preset.summary,
        "dequantization": _described(preset.dequantization, NOISES),
        "layers": [_described(layer, LAYERS) for layer in preset.layers],
        "recipe": dict(preset.recipe),
        "reference": {name: value for name, value in published.items() if value is not None},
    }


def _described(spec: Layer | GaussianNoise | None, kinds: Mapping[str, Any]) -> dict[str, Any]:
    kind = next(kind for kind, made in kinds.items() if isinstance(spec, made))
    values = {} if spec is None else asdict(spec)
    return {"kind": kind, **{name: value for name, value in values.items() if name not in FIXED.get(kind, ())}}


def _of_kind(where: str, table: Any, kinds: Mapping[str, Any]) -> Any:
    """What a table with a `kind` describes."""
    check_value(where, "", table, dict)
    kind = table.get("kind")
    if kind not in tuple(kinds):
        given = "has no kind" if kind is None else f"has the unknown kind {quoted(kind)}"
        raise UsageError(f"{where} {given}", hint=known(kind, kinds, "kinds"))
    made, fixed, where = kinds[kind], FIXED.get(kind, {}), f"{where} ({kind})"
    rest = {key: value for key, value in table.items() if key != "kind"}
    declared = () if made is NoneType else fields(made)
    chosen = {each.name: each for each in declared if each.name not in fixed}
    spec = made(**_read(where, rest, chosen), **fixed)
    if isinstance(spec, PartitionedCouplings):
        _check_couplings(where, spec)
    return spec


def _read(where: str, table: Any, declared: Mapping[str, Field[Any]]) -> dict[str, Any]:
    """What a table says of fields of a dataclass."""
    check_value(where, "", table, dict)
    check_keys(where, table, declared)
    for name, field in declared.items():
        if name in table:
            check_value(where, name, table[name], field.type, field.metadata.get("setting", Setting()).check)
        elif field.default is MISSING:
            raise UsageError(f"{where} has no {name}", hint=f"keys: {', '.join(declared)}")
    return dict(table)


def _check_couplings(where: str, spec: PartitionedCouplings) -> None:
    """See that the fields of partitioned couplings go together."""
    needed = TRANSFORMERS[spec.transformer][1]
    if spec.components and not needed:
        hint = "leave them out, or name another transformer"
        raise UsageError(f"{where}: {spec.transformer} couplings have no components", hint=hint)
    if needed and not spec.components:
        raise UsageError(f"{where} has no components for its {spec.transformer}", hint="for example components = 8")
    if spec.heads and spec.hidden % spec.heads:
        raise UsageError(f"{where}: hidden = {spec.hidden} is no multiple of heads = {spec.heads}", hint="change one")


def check_value(where: str, name: str, value: Any, kind: Any, check: Check = anything) -> None:
    """Raise `UsageError` for a value that is not of its kind, or does not pass the check; no name, no mention."""
    kind = (get_args(kind) or (kind,))[0]
    wanted = WORDS[kind] if kind in WORDS and not fits(value, kind) else check(value)
    if wanted is not None:
        place = f"{where}: {name} = {quoted(value)}" if name else where
        raise UsageError(f"{place} is not possible", hint=f"it must be {wanted}")


def check_keys(where: str, table: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raise `UsageError` for a key that is none of `keys`."""
    for key in table:
        if key not in keys:
            raise UsageError(f"{where} has the unknown key {quoted(key)}", hint=known(key, keys, "keys"))


def known(word: object, words: Iterable[str], what: str) -> str:
    """A hint: the word that was meant, perhaps, and all that there are."""
    close = get_close_matches(str(word), words, n=1)
    listed = f"{what}: {', '.join(words) or 'none'}"
    return f"did you mean '{close[0]}'? {listed}" if close else listed
