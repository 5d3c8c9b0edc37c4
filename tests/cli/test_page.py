"""`nf compare --html`: one page with everything in it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from nfcli.drawing.page_tables import settings_section
from tests.cli.program import assert_refused, contents, succeeds

VOID = {"meta", "img", "source"}


class Page(HTMLParser):
    """What a page holds; elements that are not closed in order fail."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.pictures, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.pictures += [value for name, value in attrs if name in ("src", "srcset")]
        assert not [name for name, _ in attrs if name.startswith("on") or name == "href"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def page(measured, tmp_path_factory):
    home = measured.copy(tmp_path_factory.mktemp("page") / "copy")
    config = home / "runs/simple/config.json"
    # What a hostile config.json says must stay text.
    config.write_text(config.read_text().replace('"name": "tiny"', '"name": "<script>alert(1)</script>"'))
    done = succeeds("compare", "--html", "page.html", cwd=home)
    assert done.out == "page.html\n"
    assert done.err.count("drawing ") == 4
    return home, Page((home / "page.html").read_text(encoding="utf-8"))


def test_the_table_has_every_number_with_its_error(page, measured):
    _, content = page
    rows = {row[0]: row for row in content.rows if row}
    for name in ("simple", "multiscale"):
        test = measured.told[name].json["splits"]["test"]
        text = " ".join(rows[name])
        assert f"{test['bpd']:.4f} ± {test['bpd_stderr']:.4f}" in text
        assert f"{test['elbo_bpd']:.4f}" in text
        assert f"{test['effective_sample_size']:.2f}" in text


def test_pictures_are_in_the_page_and_nothing_is_elsewhere(page):
    home, content = page
    # Learning curves in two widths; of two runs samples, and dequantization in two widths.
    assert len(content.pictures) == 2 + 2 * 3
    for picture in content.pictures:
        kind, data = picture.split(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            image.load()
            assert image.width > 50
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", (home / "page.html").read_text())
    assert "http" not in text
    assert "url(" not in text
    assert "<script" not in text
    assert "<script>alert(1)</script>" in "".join(content.words)


def test_settings_that_differ_are_shown_and_others_are_not(page):
    _, content = page
    words = " ".join(content.words)
    differing = {row[0]: row[1:] for row in content.rows if row and row[0] in ("preset", "epochs", "seed")}
    assert sorted(differing["preset"]) == ["multiscale", "simple"]
    assert "epochs" not in differing
    assert "Settings that differ" in words


def test_a_setting_that_is_newer_than_a_run_has_its_default(page):
    places = {name: page[0] / f"runs/{name}/config.json" for name in ("simple", "multiscale")}
    configs = {name: json.loads(place.read_text()) for name, place in places.items()}
    assert configs["simple"]["settings"].pop("optimizer") == "adam"
    assert "optimizer" not in settings_section(configs)
    configs["multiscale"]["settings"]["optimizer"] = "muon"
    assert "<span>adam</span>" in settings_section(configs)


def test_a_card_says_what_the_run_was_told_and_how_its_samples_were_drawn(page):
    _, content = page
    assert content.words.count("--smoke") == content.words.count("--train-size 32") == 2
    assert content.words.count("Samples at temperature 1, seed 44") == 2


def test_other_images_and_labels_have_a_plot_and_settings_of_their_own(page, tmp_path, call):
    home = Path(shutil.copytree(page[0], tmp_path / "copy"))
    path = home / "runs/simple/config.json"
    config = json.loads(path.read_text())
    config["data"]["fingerprint"] = "5" * 64
    config["settings"] |= {"smoke": False, "conditional": True}
    path.write_text(json.dumps(config))
    assert call("compare", "--html", "page.html", cwd=home).code == 0
    content = Page((home / "page.html").read_text(encoding="utf-8"))
    assert len(content.pictures) == 2 * 2 + 2 * 3
    assert sum("(fingerprint " in text for text in content.words) == 2
    rows = {row[0]: row[1:] for row in content.rows if row}
    assert sorted(rows["smoke"]) == sorted(rows["conditional"]) == ["no", "yes"]
    assert content.words.count("--smoke") == content.words.count("--conditional") == 1


def test_one_run_alone_has_no_empty_part_and_wide_pictures(page, tmp_path, call):
    home, _ = page
    two_columns = "(min-width: 60rem)"
    assert (home / "page.html").read_text().count(two_columns) == 1 + 2  # of the layout, and of what fits into it
    assert call("compare", "simple", "--html", tmp_path / "one.html", cwd=home).code == 0
    text = (tmp_path / "one.html").read_text()
    assert not re.search(r"</h2>\s*</section>", text)
    assert "<h2>Settings" not in text
    assert text.count(two_columns) == 1


def test_groups_are_not_mixed_and_pictures_are_not_drawn_twice(page):
    home, _ = page
    succeeds("eval", "simple", "-k", "3", "--split", "test", "--batch-size", "16", cwd=home)
    done = succeeds("compare", "--html", "other.html", "--json", cwd=home)
    assert "drawing" not in done.err
    told = json.loads(done.out)
    assert (told["page"], told["rankable"]) == ("other.html", False)
    content = Page((home / "other.html").read_text(encoding="utf-8"))
    assert "given labels: they must not be ranked together" in " ".join(content.words)
    assert sum("K = 2" in text or "K = 3" in text for text in content.words if text.startswith("<script>")) == 1


@pytest.mark.parametrize("changed", ["options", "weights"])
def test_pictures_of_other_options_or_weights_are_left_and_not_shown(changed, page, tmp_path):
    drawn, _ = page
    home = Path(shutil.copytree(drawn, tmp_path / "copy"))
    (home / "runs/multiscale").rename(home / "multiscale")
    figures = home / "runs/simple/figures"
    right = figures / "samples.png"
    before = right.read_bytes()
    numbers = json.loads((figures / "samples.json").read_text())
    numbers |= {"temperature": 0.5} if changed == "options" else {"checkpoint_step": 1}
    (figures / "samples.json").write_text(json.dumps(numbers))
    Image.new("L", (64, 64)).save(right)
    users = contents(figures)
    done = succeeds("compare", "--html", "page.html", cwd=home)
    assert done.err.count("drawing samples.png of 'simple' for the page") == 1
    other = {"options": "temperature 0.5 instead of 1.0", "weights": "checkpoint_step 1 instead of "}[changed]
    assert f"the one in runs/simple/figures has {other}" in done.err
    assert "dequantization" not in done.err
    assert contents(figures) == users
    shown = base64.b64encode(before).decode()
    assert shown in (home / "page.html").read_text()


def test_a_damaged_row_is_named_and_costs_that_run_its_curve(page, tmp_path, call):
    drawn, _ = page
    home = Path(shutil.copytree(drawn, tmp_path / "copy"))
    with (home / "runs/simple/metrics.jsonl").open("a") as metrics:
        metrics.write('{"epoch": 2, "step": 4, "train_bpd": 1.5, "val_bpd": [1]}\n')
    done = call("compare", "--html", "page.html", cwd=home)
    assert (done.code, done.out) == (0, "page.html\n")
    (line,) = done.err.splitlines()
    assert line.startswith("warning: no learning curve of 'simple': line 2 of runs/simple/metrics.jsonl is damaged: ")
    assert "val_bpd is [1]" in line
    assert len(Page((home / "page.html").read_text(encoding="utf-8")).pictures) == 2 + 2 * 3


def test_a_run_without_weights_is_shown_without_pictures(workshop, tmp_path):
    home = workshop.copy(tmp_path / "copy")
    for checkpoint in (home / "runs/simple/checkpoints").iterdir():
        (checkpoint / "manifest.json").unlink()
    done = succeeds("compare", "simple", "--html", "page.html", cwd=home)
    assert "warning: no samples.png of run 'simple'" in done.err
    content = Page((home / "page.html").read_text(encoding="utf-8"))
    assert "cannot be drawn" in " ".join(content.words)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--html", "page.txt"), 2),
        (("--html", "runs/simple/config.json"), 2),
        (("--html", "/proc/nowhere/page.html"), 1),
        (("missing", "--html", "page.html"), 3),
        (("--html", "page.html", "--paired"), 2),
        (("--html", "page.html", "-k", "0"), 2),
    ],
)
def test_what_cannot_be_done_leaves_nothing(arguments, code, workshop, tmp_path, call):
    home = workshop.copy(tmp_path / "copy")
    before = contents(home)
    assert_refused(call("compare", *arguments, cwd=home), code)
    assert contents(home) == before
