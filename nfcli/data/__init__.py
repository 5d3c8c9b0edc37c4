"""Where images come from: the bundled MNIST, IDX folders, folders of PNG or JPEG files, npz files.

    load                         the entry: what a user types -> ImageDataset
    bundled, idx, folder, npz    one module a form
    images                       PNG and JPEG decoding
    splits                       who is train, validation and test
    dataset                      what everything becomes: uint8 arrays in three splits
    files                        paths, limits, and decoders' errors in words

Importing it takes numpy alone; Pillow is imported when there is a PNG or JPEG file to read.
"""

from nfcli.data.dataset import ImageDataset, ImageSplit
from nfcli.data.load import load_dataset, load_images

__all__ = ["ImageDataset", "ImageSplit", "load_dataset", "load_images"]
