"""The versions that a result depends on."""

from importlib.metadata import PackageNotFoundError, version

from nfcli import __version__

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Version of nf and of the packages that decide its numbers."""
    found = {"nf": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
