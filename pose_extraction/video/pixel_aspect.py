"""The shape of the stored pixels, by which images are stretched to their display size."""

import av

from pose_extraction.video.notes import Note
from pose_extraction.video.opening import MAX_PIXELS

# Pixels that are this much wider than high, or higher than wide, are a damaged header.
MOST_ASPECT = 4.0
# Smaller differences from square are rounding by an encoder, which fits an odd size to a common display size.
ROUNDING = 0.01


def pixel_aspect_of(stream: av.VideoStream) -> tuple[float, list[Note]]:
    """Return the width of a stored pixel divided by its height, and a note if the value in the header is not plausible.

    Args:
        stream: The stream; its container precedes its codec.
    """
    ratio = stream.sample_aspect_ratio
    if not ratio:
        return 1.0, []
    aspect = float(ratio)
    if abs(aspect - 1) < ROUNDING:
        return 1.0, []
    stored = stream.codec_context.width * stream.codec_context.height
    if 1 / MOST_ASPECT <= aspect <= MOST_ASPECT and stored * aspect <= MAX_PIXELS:
        return aspect, []
    kind = "pixels of an implausible shape; taken as square"
    return 1.0, [Note(f"pixels of an implausible shape, {ratio.numerator}:{ratio.denominator}; taken as square", kind)]
