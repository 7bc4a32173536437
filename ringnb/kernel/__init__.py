"""Where actors run, for as long as the session lives: lanes, rings, staging. Knows no storage."""
