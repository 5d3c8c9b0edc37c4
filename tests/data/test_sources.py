"""Every form of source, read as it should be."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nfcli.data import dataset as splitting
from nfcli.data import load_dataset, load_images
from tests.data.image_writers import some_images, write_idx, write_labelled_pngs, write_pngs
from tests.data.refusals import refused

TRAIN, TEST = some_images(12, seed=1), some_images(3, seed=2)
TRAIN_LABELS, TEST_LABELS = np.arange(12) % 10, np.array([9, 0, 5])


def test_a_fault_of_nf_itself_is_not_said_to_be_in_the_images(tmp_path, monkeypatch):
    np.savez(tmp_path / "digits.npz", train=TRAIN, test=TEST)
    monkeypatch.setattr(splitting, "SPLIT_SEED", -1)
    with pytest.raises(ValueError, match="non-negative"):
        load_dataset(str(tmp_path / "digits.npz"))


@pytest.fixture
def idx_folder(tmp_path):
    return write_idx(tmp_path / "digits", TRAIN, TEST, TRAIN_LABELS, TEST_LABELS)


def test_one_dataset_in_three_forms_has_one_fingerprint(tmp_path, idx_folder):
    np.savez(tmp_path / "digits.npz", train=TRAIN[..., 0], test=TEST[..., 0])
    write_pngs(tmp_path / "pngs" / "train", TRAIN)
    write_pngs(tmp_path / "pngs" / "test", TEST)
    loaded = [load_dataset(str(path)) for path in (idx_folder, tmp_path / "digits.npz", tmp_path / "pngs")]
    assert len({dataset.fingerprint for dataset in loaded}) == 1
    assert [len(split) for split in (loaded[0].train, loaded[0].val, loaded[0].test)] == [10, 2, 3]
    np.testing.assert_array_equal(loaded[0].test.images, TEST)


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("zipped", [True, False])
def test_idx_names(tmp_path, idx_folder, dot, zipped):
    folder = write_idx(tmp_path / "other", TRAIN, TEST, TRAIN_LABELS, TEST_LABELS, dot, zipped)
    dataset = load_dataset(str(folder))
    assert dataset.fingerprint == load_dataset(str(idx_folder)).fingerprint
    np.testing.assert_array_equal(dataset.test.labels, TEST_LABELS)


def test_idx_labels_are_optional(tmp_path):
    dataset = load_dataset(str(write_idx(tmp_path / "plain", TRAIN, TEST)))
    assert dataset.train.labels is dataset.val.labels is dataset.test.labels is None


def test_idx_that_a_browser_unpacked_but_did_not_rename(tmp_path, idx_folder):
    folder = write_idx(tmp_path / "plain", TRAIN, TEST, zipped=False)
    for file in list(folder.iterdir()):
        file.rename(file.with_name(file.name + ".gz"))
    assert load_dataset(str(folder)).fingerprint == load_dataset(str(idx_folder)).fingerprint


@pytest.mark.parametrize(
    "keys",
    [
        ("train", "test", "train_labels", "test_labels"),
        ("train_images", "test_images", "train_labels", "test_labels"),
        ("x_train", "x_test", "y_train", "y_test"),
    ],
)
def test_npz_keys(tmp_path, idx_folder, keys):
    arrays = (TRAIN, TEST, TRAIN_LABELS.astype(np.uint8), TEST_LABELS.astype(np.int32))
    np.savez_compressed(tmp_path / "a.npz", **dict(zip(keys, arrays, strict=True)))
    dataset = load_dataset(str(tmp_path / "a.npz"))
    assert dataset.fingerprint == load_dataset(str(idx_folder)).fingerprint
    np.testing.assert_array_equal(dataset.test.labels, TEST_LABELS)
    assert dataset.val.labels.dtype == np.int64


def test_npz_validation_is_believed(tmp_path):
    np.savez(tmp_path / "a.npz", train=TRAIN, val=TEST, test=TEST)
    dataset = load_dataset(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(dataset.train.images, TRAIN)
    np.testing.assert_array_equal(dataset.val.images, TEST)


@pytest.mark.parametrize("key", ["images", "arr_0"])
def test_npz_without_splits_is_split(tmp_path, key):
    np.savez(tmp_path / "a.npz", **{key: TRAIN, "labels": np.arange(12)})
    dataset = load_dataset(str(tmp_path / "a.npz"))
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [10, 1, 1]
    np.testing.assert_array_equal(dataset.train.images, TRAIN[dataset.train.labels])


@pytest.mark.parametrize("change", [np.asfortranarray, lambda a: a.astype(">i4"), lambda a: a.astype(np.int64)])
def test_npz_of_other_layouts_and_integers(tmp_path, change):
    images = some_images(4, channels=3)
    np.savez(tmp_path / "a.npz", images=change(images))
    loaded, names, _ = load_images(tmp_path / "a.npz")
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, images)
    assert names == ["a.npz[0]", "a.npz[1]", "a.npz[2]", "a.npz[3]"]


def test_sub_folders_are_labels_and_numbers_mean_themselves(tmp_path):
    labels = np.array([10, 2, 2, 10, 2, 7, 7])
    write_labelled_pngs(tmp_path / "all", some_images(7), labels)
    dataset = load_dataset(str(tmp_path / "all"))
    found = np.concatenate([dataset.split(name).labels for name in ("train", "val", "test")])
    assert sorted(found.tolist()) == sorted(labels.tolist())
    kept = {image.tobytes(): label for image, label in zip(some_images(7), labels, strict=True)}
    assert all(kept[i.tobytes()] == n for i, n in zip(dataset.train.images, dataset.train.labels, strict=True))


def test_label_names_are_numbered_over_all_splits(tmp_path):
    for split, names in (("train", ("cat", "dog", "emu")), ("valid", ("dog",)), ("test", ("emu",))):
        for name in names:
            write_pngs(tmp_path / "pets" / split / name, some_images(2))
    said: list[str] = []
    dataset = load_dataset(str(tmp_path / "pets"), message=said.append)
    assert said == ["note: labels are 0 cat, 1 dog, 2 emu"]
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.val.labels.tolist() == [1, 1]
    assert dataset.test.labels.tolist() == [2, 2]


def test_labels_that_are_equal_numbers_stay_apart(tmp_path):
    for name in ("1", "01", "2"):
        write_pngs(tmp_path / "all" / name, some_images(1))
    dataset = load_dataset(str(tmp_path / "all"))
    assert {int(dataset.split(name).labels[0]) for name in ("train", "val", "test")} == {0, 1, 2}


def test_hidden_and_foreign_files_are_skipped(tmp_path):
    folder = write_pngs(tmp_path / "p", TRAIN)
    before = load_dataset(str(folder)).fingerprint
    for name in (".DS_Store", "._0000.png", "Thumbs.db", "README.txt"):
        (folder / name).write_bytes(b"junk")
    for name in (".git", "__MACOSX", "notes"):
        (folder / name).mkdir()
    (folder / "__MACOSX" / "0000.png").write_bytes(b"junk")
    assert load_dataset(str(folder)).fingerprint == before


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)])
def test_png_modes(tmp_path, mode, channels):
    image = Image.fromarray(some_images(1, channels=3)[0]).convert(mode)
    image.save(tmp_path / "a.png")
    loaded, names, _ = load_images(tmp_path / "a.png")
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(1, 6, 5, channels)
    np.testing.assert_array_equal(loaded, expected)
    assert names == ["a.png"]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("CMYK", 3)])
def test_jpeg_modes(tmp_path, mode, channels):
    Image.new("RGB", (5, 6), (200, 200, 200)).convert(mode).save(tmp_path / "a.JPEG")
    loaded, _, _ = load_images(tmp_path / "a.JPEG")
    assert loaded.shape == (1, 6, 5, channels)
    assert np.abs(loaded.astype(int) - 200).max() <= 2


def test_load_images_of_a_folder_in_order_of_name(tmp_path):
    images = some_images(3)
    for name, image in zip(("b.png", "a.png", "C.PNG"), images, strict=True):
        Image.fromarray(image[..., 0]).save(tmp_path / name)
    loaded, names, _ = load_images(str(tmp_path))
    assert names == ["C.PNG", "a.png", "b.png"]
    np.testing.assert_array_equal(loaded, images[[2, 1, 0]])


def test_load_images_prefers_the_key_images(tmp_path):
    np.savez(tmp_path / "a.npz", images=TEST, other=TRAIN)
    np.testing.assert_array_equal(load_images(tmp_path / "a.npz")[0], TEST)


def test_name_and_source(tmp_path, monkeypatch):
    folder = write_pngs(tmp_path / "my images (2)", TRAIN)
    monkeypatch.chdir(folder)
    dataset = load_dataset(".")
    assert (dataset.name, dataset.source) == ("my-images-2", str(folder))
    np.savez(tmp_path / "small.v2.npz", images=TRAIN)
    assert load_dataset("../small.v2.npz").name == "small.v2"
    assert load_dataset("../small.v2.npz").source == str(tmp_path / "small.v2.npz")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_pngs(tmp_path / "p", TRAIN)
    assert load_dataset("~/p").source == str(tmp_path / "p")


def test_a_local_folder_does_not_shadow_mnist(tmp_path, monkeypatch):
    write_pngs(tmp_path / "mnist", TRAIN)
    monkeypatch.chdir(tmp_path)
    assert load_dataset("mnist").source == "mnist"
    assert load_dataset("./mnist").source == str(tmp_path / "mnist")


def test_folder_named_like_an_npz_file(tmp_path):
    folder = write_pngs(tmp_path / "x.npz", TRAIN)
    assert load_dataset(str(folder)).shape == (6, 5, 1)
    assert len(load_images(folder)[0]) == 12


def test_load_images_with_labels_of_sub_folders(tmp_path):
    images, labels = some_images(5), np.array([7, 2, 7, 10, 2])
    write_labelled_pngs(tmp_path, images, labels)
    loaded = load_images(tmp_path, classes=11)
    kept = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert [kept[image.tobytes()] for image in loaded.images] == loaded.labels.tolist() == [10, 2, 2, 7, 7]
    assert loaded.names[0].startswith("10/")
    assert load_images(tmp_path).labels is None
    assert "label 10 of " in refused(tmp_path, load=lambda path: load_images(path, classes=10))


def test_load_images_with_sub_folders_called_by_words(tmp_path):
    for name in ("cat", "dog"):
        write_pngs(tmp_path / name, some_images(2))
    names = ["ant", "dog", "cat"]
    assert load_images(tmp_path, classes=3, names=names).labels.tolist() == [2, 2, 1, 1]
    (tmp_path / "dog").rename(tmp_path / "0")  # a number is one where it is no name
    assert load_images(tmp_path, classes=3, names=names).labels.tolist() == [0, 0, 2, 2]
    for known in (["cat"], []):
        (tmp_path / "0").rename(tmp_path / "wolf")
        text = refused(tmp_path, load=lambda path, known=known: load_images(path, classes=2, names=known))
        assert ("wolf" if known else "cat") in text
        (tmp_path / "wolf").rename(tmp_path / "0")
    assert len(load_images(tmp_path).images) == 4


def test_load_images_with_labels_of_an_npz(tmp_path):
    for key in ("labels", "y"):
        np.savez(tmp_path / f"{key}.npz", images=TRAIN, **{key: TRAIN_LABELS})
        assert load_images(tmp_path / f"{key}.npz", classes=10).labels.tolist() == TRAIN_LABELS.tolist()
    assert "label 9 of " in refused(tmp_path / "y.npz", load=lambda path: load_images(path, classes=9))
    np.savez(tmp_path / "plain.npz", images=TRAIN)
    assert load_images(tmp_path / "plain.npz", classes=3).labels is None


@pytest.mark.parametrize(
    ("labels", "message"), [(TRAIN_LABELS[1:], "has 12 images but 11 labels"), (TRAIN_LABELS / 2, "not integers")]
)
def test_load_images_looks_at_labels_only_where_they_are_wanted(tmp_path, labels, message):
    np.savez(tmp_path / "a.npz", images=TRAIN, labels=labels)
    assert message in refused(tmp_path / "a.npz", load=lambda path: load_images(path, classes=10))
    assert load_images(tmp_path / "a.npz").labels is None


def test_load_images_of_plain_files_has_no_labels(tmp_path):
    write_pngs(tmp_path, some_images(3))
    write_pngs(tmp_path / "7", some_images(2))
    loaded = load_images(tmp_path)
    assert (len(loaded.images), loaded.names[0], loaded.labels) == (3, "0000.png", None)
    assert load_images(tmp_path / "0000.png", classes=3).labels is None


def test_load_images_of_a_folder_with_splits(tmp_path):
    for split in ("train", "test"):
        write_pngs(tmp_path / split, some_images(2))
    text = refused(tmp_path, load=load_images)
    assert "has several splits | give one of its folders train, test" in text
    assert len(load_images(tmp_path / "test").images) == 2
