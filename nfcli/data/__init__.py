"""Where images come from: the bundled MNIST, TFDS, IDX folders, folders of PNG or JPEG files, npz files.

    load                               the entry: what a user types -> ImageDataset
    idx, tfds, folder, npz             one module a form; MNIST is in idx, and tfds_prepare downloads
    images                             PNG and JPEG decoding
    transform                          crop, resize, levels
    store                              transformed, and kept in memory or in a mapped file
    dataset                            what everything becomes: uint8 arrays in three splits, and who is in which
    labels                             numbers, or words for them
    reading                            paths, limits, and decoders' errors in words

Importing it takes numpy alone; Pillow and TFDS are imported when there is something for them to read.
"""

from nfcli.data.dataset import ImageDataset, ImageSplit
from nfcli.data.labels import in_words, label_number, listed
from nfcli.data.load import LoadedImages, load_dataset, load_images
from nfcli.data.transform import Transform

__all__ = [
    "ImageDataset",
    "ImageSplit",
    "LoadedImages",
    "Transform",
    "in_words",
    "label_number",
    "listed",
    "load_dataset",
    "load_images",
]
