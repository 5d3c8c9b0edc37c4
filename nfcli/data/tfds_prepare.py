"""Download and prepare data sets with TFDS; the MNIST family without TensorFlow.

The builders of the MNIST family here take addresses, checksums and descriptions from TFDS's own, and differ in what
they write: PNG bytes in array_record files, in the order of the original files.
"""

import io
import threading
import zipfile
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from nfcli.data.idx import IMAGES, LABELS, PREFIXES, read_idx
from nfcli.data.reading import shown
from nfcli.errors import DataError, Say, UsageError

ARRAY_RECORD = "array_record"
"""The format that can be read without TensorFlow."""

WAYS_OUT = (
    "connect and try again; or prepare it on another machine and give the folder; or download the images by hand and "
    "give the folder of IDX or PNG files, or the npz file"
)

FAMILY = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST", "emnist": "EMNIST"}
"""Names of the data sets that are prepared here, and of TFDS's classes of them."""

ANSWER_SECONDS = 8.0
"""A server that has not answered by then is taken for unreachable."""


def prepare(tfds: Any, name: str, root: Path, message: Say) -> Path:
    """Download and prepare a data set.

    Args:
        tfds: The module.
        name: NAME or NAME/CONFIG, with :VERSION if need be.
        root: Where TFDS keeps its data.
        message: Called with what is about to be done.

    Returns:
        The folder that was prepared.

    Raises:
        UsageError: There is no such data set, configuration or version.
        DataError: It takes TensorFlow, or its server cannot be reached.
    """
    # Looking for prepared copies in Google's storage takes minutes where there is no network.
    tfds.core.utils.gcs_utils._is_gcs_disabled = True
    base = name.partition(":")[0].partition("/")[0]
    builder = (_family if base in FAMILY else _official)(tfds, name, root)
    _require_answer(name, list(builder.url_infos or {}))
    message(f"downloading and preparing {name} in {builder.data_path}")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(file_format=ARRAY_RECORD, download_config=config)
    return Path(builder.data_path)


def _family(tfds: Any, name: str, root: Path) -> Any:
    plain, _, version = name.partition(":")
    base, _, config = plain.partition("/")
    official = getattr(tfds.image_classification, FAMILY[base])
    known = list(official.builder_configs)
    if config and config not in known:
        # The closest ones, however far they are: a name that is made up still gets some to choose from.
        close = ", ".join(f"tfds:{base}/{one}" for one in get_close_matches(config, known, n=3, cutoff=0))
        hint = f"for example {close}" if close else f"tfds:{base} has no configurations"
        raise UsageError(f"TFDS has no configuration '{shown(config)}' of {base}", hint=hint)
    builder = _without_tensorflow(tfds, official)(data_dir=root, **({"config": config} if config else {}))
    if version not in ("", str(builder.version)):  # it would not be the one that is prepared
        hint = f"there is tfds:{plain}:{builder.version}"
        raise UsageError(f"TFDS has no version '{shown(version)}' of {plain}", hint=hint)
    return builder


def _official(tfds: Any, name: str, root: Path) -> Any:
    if name.partition(":")[0].partition("/")[0] not in tfds.list_builders(with_community_datasets=False):
        hint = "see https://www.tensorflow.org/datasets/catalog/overview"
        raise UsageError(f"TFDS has no data set '{shown(name)}'", hint=hint)
    if find_spec("tensorflow") is None:
        hint = "pip install 'nfcli[tfds]'; or give a folder that was prepared elsewhere"
        raise DataError(f"TFDS prepares {name} only with TensorFlow", hint=hint)
    return tfds.builder(name, data_dir=root)


def _require_answer(name: str, addresses: list[str]) -> None:
    """Refuse at once what TFDS would try for minutes.

    Raises:
        DataError: No answer from the server.
    """
    if not addresses:
        return
    trouble = ["no answer"]

    def ask() -> None:
        import requests

        try:
            # Any answer will do; whether the file is there, TFDS finds out soon enough.
            requests.head(addresses[0], timeout=ANSWER_SECONDS, allow_redirects=False)
            trouble.clear()
        except Exception as error:  # of requests, of what it calls, or of the resolver
            trouble[0] = type(error).__name__

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    if trouble:
        host = urlsplit(addresses[0]).hostname
        raise DataError(f"cannot download {name}: {host} cannot be reached ({trouble[0]})", hint=WAYS_OUT)


def _without_tensorflow(tfds: Any, official: Any) -> Any:
    """A builder like TFDS's own that reads and writes without TensorFlow."""

    class Builder(official, skip_registration=True):  # type: ignore[misc, call-arg]
        name = official.name
        url_infos = official.url_infos
        pkg_dir_path = official._get_pkg_dir_path()

        def _info(self) -> Any:
            known = super()._info()
            same = ("description", "features", "supervised_keys", "homepage", "citation")
            kept = {key: getattr(known, key) for key in same}
            # Shuffling is disabled because the order of the files decides who trains and who validates.
            return tfds.core.DatasetInfo(builder=self, **kept, disable_shuffling=True)

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            emnist = official.name == "emnist"
            prefixes = {part: f"emnist-{self.builder_config.name}-{part}" for part in PREFIXES} if emnist else PREFIXES
            names = {part: [f"{prefix}-{kind}.gz" for kind in (IMAGES, LABELS)] for part, prefix in prefixes.items()}
            if emnist:
                # Open as long as what reads it: TFDS asks for the examples later.
                archive = zipfile.ZipFile(dl_manager.download(self.URL))
                found = {part: [zipfile.Path(archive, f"gzip/{name}") for name in pair] for part, pair in names.items()}
            else:
                addresses = {part: [urljoin(self.URL, name) for name in pair] for part, pair in names.items()}
                found = dl_manager.download(addresses)
            return {part: self._generate_examples(*pair) for part, pair in found.items()}

        def _generate_examples(self, images: Any, labels: Any) -> Iterator[tuple[int, dict[str, Any]]]:
            for index, (image, label) in enumerate(zip(read_idx(images, 3), read_idx(labels, 1), strict=True)):
                yield index, {"image": _png(image), "label": int(label)}

    return Builder


def _png(image: Any) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
