"""Who runs jobs: this process, or Ray Tune. Import the one you need; the latter imports ray."""
