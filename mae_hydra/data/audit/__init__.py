"""Looking a data set over before a day is lost on it."""
