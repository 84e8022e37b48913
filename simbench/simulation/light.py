"""The light of a fibre: how many Cherenkov photons it guides to its far end. light.F is the same in Fortran."""

from __future__ import annotations

import math

INDEX = 1.46
"""Refractive index of quartz."""

APERTURE = 0.22
"""Numerical aperture of a fibre."""

WAVELENGTHS = (350e-7, 600e-7)
"""The band whose photons are counted, in cm."""

FINE_STRUCTURE = 1 / 137.036


def captured_photons(beta: float, cosine: float) -> float:
    """The mean number of photons that a fibre guides to one end, per cm of track and squared charge.

    The formula of Frank and Tamm over the band, `2 pi alpha (1/l1 - 1/l2) sin²(theta_C)`, times the share of the cone's
    azimuth that lies within the acceptance `sin(theta) = NA / n` of the fibre's axis.

    Args:
        beta: velocity of the particle over that of light, in [0, 1].
        cosine: of the angle between particle and axis, in [-1, 1]; positive towards the end that is read out.

    Returns:
        Photons per cm; 0 below the threshold `beta = 1 / n`.
    """
    if beta * INDEX <= 1:
        return 0.0
    cos_cone = 1 / (INDEX * beta)
    sin_cone = math.sqrt(1 - cos_cone**2)
    emitted = 2 * math.pi * FINE_STRUCTURE * (1 / WAVELENGTHS[0] - 1 / WAVELENGTHS[1]) * sin_cone**2
    # a photon at azimuth phi about the particle is guided where cos_cone cosine + sin_cone sine cos(phi) >= cos_limit
    needed = math.sqrt(1 - (APERTURE / INDEX) ** 2) - cos_cone * cosine
    reach = sin_cone * math.sqrt(max(0.0, 1 - cosine**2))
    if abs(needed) >= reach:
        return emitted if needed <= 0 else 0.0
    return emitted * math.acos(needed / reach) / math.pi
