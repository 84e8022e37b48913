"""Boards: the entries of a leaderboard, their ranks, and the pages made from them."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__, {"read_board": "board", "read_entries": "board", "add": "board", "render": "pages"}
)
