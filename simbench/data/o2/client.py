"""What a caller of model.onnx does: scale the conditions, draw the noise, run, exp(x) - 1, sum the five channels.

    python client.py particles.txt [--seed 1]

Each line of particles.txt has nine numbers: Energy Vx Vy Vz Px Py Pz mass charge. One line of five counts of photons is
written for each. Needs numpy and onnxruntime alone.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def read_scales(path):
    """Means and scales, (2, 9), of the two blocks of model.txt."""
    blocks, name = {}, ""
    for line in Path(path).read_text().split():
        if line.startswith("#"):
            name = line
            blocks[name] = []
        else:
            blocks[name].append(float(line))
    return np.array([blocks["#means"], blocks["#scales"]], np.float32)


def channels(image):
    """Photons of the five channels of log(1 + photons), (44, 44), rounded: quadrants of even pixels, then odd ones."""
    photons = np.expm1(image.astype(np.float64))
    row, column = np.indices(photons.shape)
    even, low, left = (row + column) % 2 == 0, row < 22, column < 22
    masks = [even & low & left, even & low & ~left, even & ~low & left, even & ~low & ~left, ~even]
    return [round(photons[mask].sum()) for mask in masks]


def main():
    """Read particles, write channels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("particles")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    here = Path(__file__).parent
    means, scales = read_scales(here / "model.txt")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(here / "model.onnx", options, providers=["CPUExecutionProvider"])
    latent = session.get_inputs()[0].shape[1]
    random = np.random.default_rng(given.seed)
    for particle in np.loadtxt(given.particles, np.float32, ndmin=2):
        noise = random.standard_normal((1, latent), np.float32)
        conditions = ((particle - means) / scales)[None]
        (images,) = session.run(None, {"noise": noise, "conditions": conditions})
        print(*channels(images[0]))


if __name__ == "__main__":
    sys.exit(main())
