"""Finished screens: plate files and a plate map from outside become scores, without a campaign."""

from tasks.readouts.screens.config import ScreenConfig, read_screen_config
from tasks.readouts.screens.intake import take_in_files
from tasks.readouts.screens.scoring import ScoredScreen, score_plates

__all__ = ["ScoredScreen", "ScreenConfig", "read_screen_config", "score_plates", "take_in_files"]
