"""The TF-compatible Inception-v3 of torch-fidelity: 2048 features of an RGB image, on its published weights."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simbench.core.download import Wanted, fetch, find_file
from simbench.core.errors import DataError
from simbench.core.files import read_pinned

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
SHA256_PREFIX = "6726825d"
"""The published file's sha256 begins with this, as its name says."""
DIMENSION = 2048
CHUNK = 50


def _check(path: Path, name: str) -> bytes:
    return read_pinned(path, SHA256_PREFIX, "the published Inception", "Remove it and fetch it again.")


WANTED = Wanted(
    title="the Inception weights",
    folder="inception",
    names=(WEIGHTS,),
    urls=("https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{name}",),
    limit=2**28,
    check=_check,
)


def weights_path(data_dir: Path | None = None) -> Path:
    """The weights on this machine, or else downloaded. Raises DataError where the network is closed."""
    return find_file(WANTED, data_dir) or fetch(WANTED, data_dir) / WEIGHTS


@functools.lru_cache(maxsize=1)
def load_network(path: Path, sha256_prefix: str) -> Any:
    """The extractor with the weights of `path`, unpickled as tensors only. Raises DataError for another file."""
    content = read_pinned(path, sha256_prefix, "the published Inception", "Fetch it again.")
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # whatever unpickling raises: the file is not a plain dictionary of tensors
        raise DataError(f"{path} cannot be read as tensors", got=type(error).__name__, fix="Fetch it again.") from error
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return FeatureExtractorInceptionV3(
        "inception-v3-compat", [str(DIMENSION)], feature_extractor_weights_path=str(path)
    )


def inception(samples: Tensor) -> Tensor:
    """(N, 3, H, W) images in [0, 1] -> (N, 2048) float32; images are rounded to 8 bits, as for published scores."""
    network = load_network(weights_path(), SHA256_PREFIX)
    with torch.inference_mode():
        parts = [network((chunk * 255).round().to(torch.uint8))[0] for chunk in samples.split(CHUNK)]
    return torch.cat(parts).clone()
