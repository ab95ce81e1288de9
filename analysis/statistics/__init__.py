"""Statistics that know nothing of trials: tests, intervals, resampling."""
