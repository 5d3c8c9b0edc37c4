"""Small files of every form, written without the code under test."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def some_images(count, height=6, width=5, channels=1, seed=0):
    """(N, H, W, C) uint8, every image different."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


def idx_bytes(array):
    """An IDX file of unsigned bytes."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape) + array.tobytes()


def write_idx(folder: Path, train, test, train_labels=None, test_labels=None, dot="-", zipped=True):
    """An IDX folder from images (N, H, W, 1) and labels (N,)."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, images, labels in (("train", train, train_labels), ("t10k", test, test_labels)):
        contents = {f"{prefix}-images{dot}idx3-ubyte": images[..., 0]}
        if labels is not None:
            contents[f"{prefix}-labels{dot}idx1-ubyte"] = labels.astype(np.uint8)
        for name, array in contents.items():
            data = idx_bytes(array)
            (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)
    return folder


def write_pngs(folder: Path, images, suffix=".png"):
    """One file an image, 0000.png and up."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{index:04d}{suffix}")
    return folder


def write_labelled_pngs(folder: Path, images, labels):
    """One sub-folder a label."""
    for label in np.unique(labels):
        write_pngs(folder / str(label), images[labels == label])
    return folder


def png_bytes(width, height, depth=8, colour=0, data=b""):
    """A PNG file with this header, whatever its data are (colour 0: gray, 2: RGB)."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
