"""Durations in messages."""


def rounded_duration(seconds: float) -> str:
    """A duration to the minute: "a minute", "5 min", "2 h 5 min"."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes > 1 else "a minute"
