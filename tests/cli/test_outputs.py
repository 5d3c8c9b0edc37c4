"""What the user names for output: nothing is replaced that nf did not write, and what it wrote is."""

from __future__ import annotations

import numpy as np
import pytest

from nfcli.data import load_dataset
from nfcli.drawing.explain import save_explain_figure
from nfcli.drawing.grid import encode_png, image_grid, save_grid
from nfcli.errors import UsageError
from nfcli.runs.outputs import check_output
from nfcli.runs.per_image import save_table
from tests.cli.program import assert_refused, contents
from tests.runs.untrained import untrained


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run, images, and files of the user's own."""
    home, images = tmp_path_factory.mktemp("outputs"), np.zeros((32, 8, 8), np.uint8)
    # The data pass for what nf wrote, so that nothing but their being read keeps them.
    columns = {name: np.zeros(1) for name in ("split", "index", "log_prob")}
    np.savez(home / "tiny.npz", train=images, test=images[:16], **columns)
    untrained(home, "simple", "tiny.npz")
    np.savez(home / "data.npz", images=images, **columns)
    np.savez(home / "mine.npz", images=images, log_prob=columns["log_prob"])
    broken = bytearray((home / "mine.npz").read_bytes())
    broken[broken.index(b"PK\x01\x02") + 6] = 255  # a version of zip that Python does not read
    (home / "broken.npz").write_bytes(broken)
    (home / "pointless.png").symlink_to("nowhere")
    (home / "mine.csv").write_text("a,b\n1,2\n")
    (home / "mine.html").write_text("<p>my thesis")
    for suffix in ("png", "pdf", "svg"):
        (home / f"mine.{suffix}").write_bytes(b"drawn by hand")
    return home


@pytest.mark.parametrize(
    "words",
    [
        "eval simple --images data.npz --save-latents data.npz",
        "eval simple --images data.npz --save-latents mine.npz",
        "eval simple --images data.npz --save-per-image tiny.npz",
        "eval simple --images data.npz --save-per-image mine.npz",
        "eval simple --save-per-image mine.csv",
        "compare simple --html mine.html",
        "sample simple -o mine.png",
        "sample simple -o mine.npz",
        "sample simple -o broken.npz",
        "sample simple -o pointless.png",
        "sample simple -o mine.svg",
        "interpolate simple -o mine.pdf",
        "inspect-dequant simple -o mine.png",
        "inspect-dequant --explain -o mine.png",
    ],
)
def test_what_nf_did_not_write_stays(words, home, call):
    before = contents(home)
    assert_refused(call(*words.split(), cwd=home), 2)
    assert contents(home) == before


def test_the_data_of_a_run_stay_by_any_name(home, call):
    (home / "link.npz").symlink_to("tiny.npz")
    done = call("eval", "simple", "--save-per-image", "link.npz", cwd=home)
    assert_refused(done, 2)
    assert "would replace the images" in done.err


@pytest.mark.parametrize(
    "name", ["a.png", "a.PNG", "a.pdf", "a.svg", "grid.png", "grid.pdf", "one.png", "a.csv", "a.npz"]
)
def test_what_nf_wrote_is_replaced(name, tmp_path):
    path, digits = tmp_path / name, load_dataset("mnist").test.images[:2]
    if name.startswith("grid"):
        save_grid(image_grid(digits, 2), path)
    elif name.startswith("one"):
        path.write_bytes(encode_png(digits[0]))
    elif name.endswith((".csv", ".npz")):
        columns = {"split": np.array(["test"]), **{name: np.zeros(1) for name in ("index", "label", "log_prob", "bpd")}}
        save_table(path, columns)
    else:
        save_explain_figure(path)
    check_output("--output", path)
    path.write_bytes(b"something else")
    with pytest.raises(UsageError, match="does not say that nf wrote it"):
        check_output("--output", path)


@pytest.mark.parametrize(
    "words",
    [
        "compare simple --html page.htm",
        "sample simple -n 2 -o samples.npz",
        "sample simple -n 2 -o samples",
        "eval simple -k 1 --images few.npz --save-per-image few.csv --save-latents latents.npz",
    ],
)
def test_a_command_can_be_given_again(words, home, call):
    np.savez(home / "few.npz", images=np.zeros((2, 8, 8), np.uint8))
    for _ in range(2):
        assert call(*words.split(), cwd=home).code == 0
    # What else is drawn beside takes the place of the numbers.
    if words.endswith("samples.npz"):
        assert call("sample", "simple", "-n", "2", "-o", "samples.png", cwd=home).code == 0
        assert call(*words.split(), cwd=home).code == 0
