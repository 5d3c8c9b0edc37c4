"""`nf eval` and `nf compare`: the numbers, results.json, and which rows are ranked together."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from nfcli.cli.tables import formats
from nfcli.evaluation.bound import BoundEvaluator
from nfcli.evaluation.config import EvalConfig
from nfcli.evaluation.evaluate import evaluate
from tests.cli.program import assert_refused, succeeds

KEYS = {"run", "preset", "dataset", "importance_samples", "checkpoint_step", "splits", "inference_ms", "sampling_ms"}
ROW = {
    "run",
    "preset",
    "parameters",
    "val_bpd",
    "test_bpd",
    "test_bpd_stderr",
    "dataset",
    "conditional",
    "test_fingerprint",
    "importance_samples",
    "images",
    "inference_ms",
    "sampling_ms",
}


@pytest.fixture
def home(measured, tmp_path):
    """A copy of the workshop, both runs measured."""
    return measured.copy(tmp_path / "copy")


def measured_images(home):
    with np.load(home / "tiny.npz") as arrays:
        return arrays["test"]


def results(home, run="simple"):
    return json.loads((home / "runs" / run / "results.json").read_text())


def test_json_tells_the_result(measured):
    told = measured.told["simple"].json
    assert told.keys() >= KEYS
    assert (told["run"], told["preset"]) == ("simple", "simple")
    assert (told["importance_samples"], told["checkpoint_step"]) == (2, 2)
    assert set(told["splits"]) == {"val", "test"}
    for numbers in told["splits"].values():
        assert numbers.keys() >= {"bpd", "bpd_stderr", "elbo_bpd", "images"}
        assert numbers["images"] == 16
        assert 0 < numbers["bpd"] <= numbers["elbo_bpd"]
        assert numbers["bpd_stderr"] > 0
    assert min(told["inference_ms"], told["sampling_ms"]) > 0


def test_the_same_question_has_the_same_answer_and_one_place(home, measured):
    before = results(home)
    told = succeeds("eval", "simple", "-k", "2", "--batch-size", "8", "--json", cwd=home).json
    for split, numbers in measured.told["simple"].json["splits"].items():
        assert told["splits"][split] == pytest.approx(numbers, rel=1e-6)
    after = results(home)
    assert [entry["split"] for entry in after["evaluations"]] == ["val", "test"]
    assert after["evaluations"][0]["bpd"] == pytest.approx(before["evaluations"][0]["bpd"], rel=1e-6)


def test_another_question_is_added_and_a_quick_one_does_not_displace_more_images(home, call):
    done = succeeds("eval", "simple", "-k", "3", "--split", "test", "--limit", "5", "--batch-size", "16", cwd=home)
    assert "bpd (K=3)" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    asked = [(entry["split"], entry["images"], entry["importance_samples"]) for entry in results(home)["evaluations"]]
    assert asked == [("val", 16, 2), ("test", 16, 2), ("test", 5, 3)]
    told = call("compare", "--json", cwd=home)
    assert told.json["rankable"]
    assert [row["images"] for row in told.json["rows"]] == [16, 16]
    assert told.err == (
        "'simple' is shown as measured on 16 test images with K = 2; a later measurement on 5 with K = 3 is left out "
        "(-k 3 shows it)\n"
    )
    rows = {row["run"]: row for row in call("compare", "-k", "3", "--json", cwd=home).json["rows"]}
    assert (rows["simple"]["images"], rows["multiscale"]["images"]) == (5, None)
    shown = call("compare", "-k", "3", cwd=home)
    assert "), first 5 of them, K = 3\n" in shown.out
    assert "\nnot measured with K = 3\n" in shown.out
    assert "not measured with K = 3: multiscale; for example: nf eval multiscale -k 3" in shown.err


def test_other_questions_are_ranked_apart(home, call):
    content = results(home)
    content["evaluations"].append({**content["evaluations"][-1], "importance_samples": 3})
    (home / "runs/simple/results.json").write_text(json.dumps(content))
    told = call("compare", "--json", cwd=home)
    assert not told.json["rankable"]
    assert len(told.json["groups"]) == 2
    assert "the groups differ in images, K or given labels: they must not be ranked together" in told.err
    same = call("compare", "-k", "2", "--json", cwd=home).json
    assert same["rankable"]
    assert [row["images"] for row in same["rows"]] == [16, 16]


def test_compare_tells_every_row(home, measured):
    told = succeeds("compare", "--json", cwd=home).json
    assert told["rankable"]
    assert {row["run"] for row in told["rows"]} == {"simple", "multiscale"}
    for row in told["rows"]:
        assert row.keys() >= ROW
        numbers = measured.told[row["run"]].json
        assert row["test_bpd"] == numbers["splits"]["test"]["bpd"]
        assert row["val_bpd"] == numbers["splits"]["val"]["bpd"]
        assert (row["importance_samples"], row["images"]) == (2, 16)
        assert row["inference_ms"] > 0
    assert [row["test_bpd"] for row in told["rows"]] == sorted(row["test_bpd"] for row in told["rows"])


def test_compare_prints_a_table_that_fits_the_terminal(home):
    done = succeeds("compare", cwd=home)
    assert done.err == ""
    assert "multiscale" in done.out
    assert "), all 16 of them, K = 2\n" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_names_that_say_the_preset_leave_room_for_the_best_of_every_column(home, call):
    for run in (home / "runs").iterdir():
        run.rename(run.with_name(f"{run.name}-with-a-longer-name"))
        results = home / "runs" / f"{run.name}-with-a-longer-name" / "results.json"
        content = json.loads(results.read_text())
        content["timing"] |= {"inference_ms": 234.5, "sampling_ms": 234.5}
        results.write_text(json.dumps(content))
    lines = call("compare", cwd=home).out.splitlines()
    assert max(map(len, lines)) <= 80
    best = next(line for line in lines if "*" in line)
    assert best.split()[0].endswith("-with-a-longer-name")
    assert best.count("*") == 2  # times are no contest
    (home / "runs/simple-with-a-longer-name").rename(home / "runs/other")
    assert " preset " in call("compare", cwd=home).out


def test_every_format_but_the_one_for_people_is_a_table_alone(home, call):
    rows = call("compare", "--json", cwd=home).json["rows"]
    for name in formats():
        done = call("compare", "--format", name, cwd=home)
        plain = name != "simple"
        assert (done.code, done.err.startswith("note: std err")) == (0, plain)
        for row in rows:
            assert row["run"] in done.out
            assert (str(row["parameters"]) in done.out) is plain
        assert ("*" + f"{rows[0]['test_bpd']:.4f}" in done.out) is not plain
        assert ("std err: over images" in done.out) is not plain


@pytest.mark.parametrize("names", [("simple",), ("pretrained:simple",)])
def test_files_for_programs_have_the_same_columns_always(names, home, call):
    header = call("compare", "--format", "csv", *names, cwd=home).out.splitlines()[0]
    assert header == (
        "run,preset,params,data,test set,conditional,images,K,val images,val bpd,test bpd,std err,test bpd K=1,"
        "infer ms,sample ms,eff samples,timed on,published val bpd,published test bpd,test bpd of p(x),std err of p(x),"
        "accuracy,label bits,calibration error"
    )


@pytest.mark.parametrize(("name", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_a_program_reads_all_groups_in_one_table(name, delimiter, home, call):
    results = home / "runs/simple/results.json"
    results.write_text(results.read_text().replace('"importance_samples": 2', '"importance_samples": 3'))
    (home / "runs/multiscale").rename(home / "runs/multi_scale")
    told = call("compare", "--json", cwd=home).json
    assert len(told["groups"]) == 2
    done = call("compare", "--format", name, cwd=home)
    assert "given labels: they must not be ranked together" in done.err
    read = list(csv.DictReader(done.out.splitlines(), delimiter=delimiter))
    assert [(row["run"], row["K"]) for row in read] == [("multi_scale", "2"), ("simple", "3")]
    for row, known in zip(read, told["rows"], strict=True):
        assert float(row["test bpd"]) == pytest.approx(known["test_bpd"], abs=6e-5)
        assert (row["data"], row["test set"], row["conditional"]) == ("tiny", known["test_fingerprint"][:8], "no")
        assert int(row["params"]) == known["parameters"]
    latex = call("compare", "--format", "latex", cwd=home).out
    assert latex.startswith("\\begin{tabular}")
    assert latex.endswith("\\end{tabular}\n")
    assert latex.count("tabular") == 2
    assert " multi\\_scale " in latex
    (home / "runs/simple/results.json").unlink()
    cells = call("compare", "--format", name, cwd=home).out.splitlines()[2].split(delimiter)
    assert cells[0] == "simple"
    assert cells[-5:] == [""] * 5


def test_compare_takes_names_and_refuses_unknown_ones(home, call):
    for names in (["simple"], ["runs/simple"], ["simple", "simple"], ["simple", "runs/simple"]):
        assert [row["run"] for row in call("compare", *names, "--json", cwd=home).json["rows"]] == ["simple"]
    assert_refused(call("compare", "simple", "nothere", cwd=home), 3)
    assert_refused(call("compare", "--format", "nonsense", cwd=home), 2)


def test_a_run_that_was_not_measured_is_shown_as_such(home, call):
    (home / "runs/simple/results.json").unlink()
    done = call("compare", cwd=home)
    assert done.code == 0
    assert "not measured yet" in done.out
    assert "nf eval simple" in done.err
    rows = {row["run"]: row for row in call("compare", "--json", cwd=home).json["rows"]}
    assert rows["simple"]["test_bpd"] is None
    assert rows["multiscale"]["test_bpd"] is not None


def test_runs_are_listed_in_the_order_that_people_count_in(home, call):
    for name in ("w10", "w2"):
        shutil.copytree(home / "runs/simple", home / "runs" / name)
        (home / "runs" / name / "results.json").unlink()
    rows = call("compare", "--json", cwd=home).json["rows"]
    assert [row["run"] for row in rows][2:] == ["w2", "w10"]
    assert "runs there: multiscale, simple, w2, w10" in call("sample", "nothere", cwd=home).err
    assert "hint: did you mean 'multiscale'? runs there: " in call("sample", "multscale", cwd=home).err


def test_images_can_be_saved_and_the_run_trained_last_is_the_default(home):
    settings = ("-k", "1", "--limit", "3", "--split", "val", "--batch-size", "16")
    done = succeeds("eval", *settings, "--save-per-image", "each.csv", "-q", cwd=home)
    assert done.err == ""
    assert done.out.splitlines()[0].split() == ["split", "images", "bpd", "(K=1)", "std", "error"]  # nothing twice
    assert len((home / "each.csv").read_text().splitlines()) == 1 + 3
    assert results(home, "multiscale")["evaluations"][-1]["importance_samples"] == 1


class _Made(Exception):
    """An evaluator was made, and that is all that the test wants to know."""


@pytest.mark.parametrize(("limit", "asked", "batch_size"), [(3, 128, 4), (16, 128, 16), (9, 2**31 - 1, 16)])
@pytest.mark.parametrize("own", [False, True])
def test_few_images_are_not_padded_to_a_whole_batch(limit, asked, batch_size, own, home, monkeypatch):
    def end(evaluator, *_, **__):
        raise _Made(evaluator.batch_size)

    monkeypatch.setattr(BoundEvaluator, "__call__", end)
    config = EvalConfig("simple", home / "runs", limit=limit, batch_size=asked, devices=1)
    if own:
        np.savez(home / "mine.npz", images=measured_images(home)[:limit])
        config = replace(config, images=home / "mine.npz")
    with pytest.raises(_Made, match=f"^{batch_size}$"):
        evaluate(config)


def test_saved_images_never_replace_what_is_measured(home, call):
    images = (home / "tiny.npz").read_bytes()
    assert_refused(call("eval", "simple", "--save-per-image", "tiny.npz", cwd=home), 2)
    assert_refused(call("eval", "simple", "--images", "tiny.npz", "--save-per-image", "./tiny.npz", cwd=home), 2)
    assert_refused(call("eval", "simple", "--save-per-image", "runs/simple/each.csv", cwd=home), 2)
    assert (home / "tiny.npz").read_bytes() == images


def test_seeds_are_one_row_in_every_form(home, call):
    copy = shutil.copytree(home / "runs/simple", home / "runs/simple-again")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "settings": {**config["settings"], "seed": 43}}))
    shutil.copytree(home / "runs/multiscale", home / "runs/new")
    (home / "runs/new/results.json").unlink()
    told = call("compare", "--group-seeds", "--json", cwd=home)
    rows = {row["run"]: row for row in told.json["rows"]}
    assert rows.keys() == {"simple +1", "multiscale", "new"}
    assert (rows["simple +1"]["seeds"], rows["simple +1"]["runs"]) == ([42, 43], ["simple", "simple-again"])
    assert (rows["simple +1"]["test_bpd_seed_std"], rows["multiscale"]["test_bpd_seed_std"]) == (0, None)
    done = call("compare", "--group-seeds", cwd=home)
    assert "std seeds: standard deviation" in done.out
    assert "nf eval new" in done.err
    assert max(map(len, done.out.splitlines())) <= 80
    table = call("compare", "--group-seeds", "--format", "csv", cwd=home)
    read = {row["run"]: row for row in csv.DictReader(table.out.splitlines())}
    assert (read["simple +1"]["seeds"], read["simple +1"]["test bpd std seeds"]) == ("2", "0.0000")
    assert "seeds" not in call("compare", "--format", "csv", cwd=home).out
    for other in (("--paired",), ("--html", "page.html")):
        assert_refused(call("compare", "--group-seeds", *other, cwd=home), 2)


def test_numbers_that_are_of_something_else_are_told(home, call):
    """Validation of another number of images, and times of another device."""
    results = home / "runs/simple/results.json"
    content = json.loads(results.read_text())
    next(entry for entry in content["evaluations"] if entry["split"] == "val")["images"] = 7
    content["timing"]["device"]["kind"] = "a GPU"
    results.write_text(json.dumps(content))
    done = call("compare", cwd=home)
    assert "val bpd of 'simple' is of 7 validation images\n" in done.err
    assert "timed on " in done.err
    assert "a GPU: 'simple'" in done.err
    lines = list(csv.DictReader(call("compare", "--format", "csv", cwd=home).out.splitlines()))
    assert {line["run"]: (line["val images"], line["timed on"]) for line in lines} == {
        "simple": ("7", "a GPU"),
        "multiscale": ("16", "cpu"),
    }
