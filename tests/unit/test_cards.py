"""The model cards: their measured part is what weights and boards say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_cards_say_what_weights_and_boards_say() -> None:
    """No card is older than an entry or a weights file."""
    command = [sys.executable, "docs/cards.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nRun python docs/cards.py"


def test_an_old_card_is_noticed(tmp_path: Path) -> None:
    """A figure typed by hand is seen, and nothing is written."""
    for folder in ("docs", "leaderboards", "baselines", "reference_models"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "docs").unlink()
    (tmp_path / "docs" / "models").mkdir(parents=True)
    card = tmp_path / "docs" / "models" / "dcgan.md"
    card.write_text("# dcgan\n\n<!-- measured -->\nlenet_fid 0.01\n<!-- /measured -->\n")
    command = [sys.executable, str(ROOT / "docs" / "cards.py"), "--check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "docs/models/dcgan.md" in done.stdout
    assert "lenet_fid 0.01" in card.read_text()
