"""Predictions as subtitles: WebVTT and SubRip (SRT)."""

from collections.abc import Sequence

from pipeline.predict.answers import Answer, in_words
from pipeline.predict.output.frames import ClipFrames
from pipeline.predict.output.spans import Span, spans_of


def as_webvtt(clip: str, answers: Sequence[Answer], frames: ClipFrames | None) -> str:
    """Return the predictions of a clip as WebVTT, one cue each."""
    cues = [
        f"{_clock(span.start, '.')} --> {_clock(span.end, '.')}\n{_escaped(_text(span))}\n"
        for span in spans_of(answers)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def as_srt(clip: str, answers: Sequence[Answer], frames: ClipFrames | None) -> str:
    """Return the predictions of a clip as SubRip, one numbered subtitle each."""
    return "\n".join(
        f"{number}\n{_clock(span.start, ',')} --> {_clock(span.end, ',')}\n{_text(span)}\n"
        for number, span in enumerate(spans_of(answers), 1)
    )


def _text(span: Span) -> str:
    return " ".join(f"{span.who}: {in_words(span.label, span.probability, span.closest)}".split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    """Return a time as hours:minutes:seconds with milliseconds."""
    milliseconds = round(1000 * seconds)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
