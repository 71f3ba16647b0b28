"""Compare what a file contains with what its header specifies, to report truncated and damaged files.

Not every difference is damage: an edit list hides frames at both ends of a trimmed video, an empty chunk of an AVI file
shows the frame before it once more, and a recording that was cut out of a longer one may not begin with a key frame.
"""

import struct
from pathlib import Path

import av

from pose_extraction.video.notes import Note

# Tolerated difference between the length in the header and the actual length, due to rounding and audio.
MISSING_TAIL = 0.5
MISSING_SHARE = 0.02
# Maximum size in bytes of an MPEG-4 picture without content, which repeats the picture before it.
REPEATING_BYTES = 10
# Chunks at the top level of an AVI file that are searched for its index, and the form of an entry: name, flags, place,
# size.
MOST_CHUNKS = 64
INDEX_ENTRY = struct.Struct("<4sIII")


class Completeness:
    """Counts the packets of a stream that show no frame of their own.

    Args:
        path: The file.
        container: The open file, before its packets are read.
        stream: Its stream.
    """

    def __init__(self, path: Path, container: "av.container.InputContainer", stream: av.VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._is_avi = container.format.name == "avi"
        self._repeats_in_packets = stream.codec_context.name == "mpeg4"
        self._claimed = stream.frames
        self._has_avi_index = False
        if self._is_avi:
            sizes = _avi_chunk_sizes(path, stream.index)
            # Without an index at its end, the file is truncated. That of very large files lists only a part.
            self._has_avi_index = len(sizes) >= stream.frames > 0
            self._claimed -= sizes.count(0) if self._has_avi_index else 0
        elif stream.index_entries:
            # That of mp4 files lists the frames that the edit list leaves.
            self._claimed = min(stream.frames, len(stream.index_entries))
        self._hidden = 0
        # Packets before the first key frame, and all packets; without those that show no frame of their own.
        self._before_key = 0
        self._shown = 0
        self._has_key = False
        self._first: int | None = None
        self._last = 0

    def count(self, packet: av.Packet) -> None:
        """Take the next packet into account."""
        repeats = self._repeats_in_packets and packet.size <= REPEATING_BYTES
        is_hidden = packet.is_discard or repeats
        self._hidden += is_hidden
        self._shown += not is_hidden
        self._has_key |= packet.is_keyframe
        self._before_key += not self._has_key and not is_hidden
        if packet.dts is not None:
            self._first = packet.dts if self._first is None else self._first
            self._last = packet.dts

    def shortfall(self, frames: int, seconds: float) -> list[Note]:
        """Return notes if frames are missing at the end of the iteration.

        Args:
            frames: Number of frames read, and of frames before them.
            seconds: Time of their end.
        """
        late = self._before_key if self._before_key and self._shown - frames >= self._before_key else 0
        notes = []
        if late:
            text, rest = "frames before the first key frame cannot be decoded", "times start at the first one that can"
            notes.append(Note(f"{text} ({late}); {rest}", f"{text}; {rest}"))
        return notes + self._truncation(frames + late, seconds * (frames + late) / frames)

    def _truncation(self, frames: int, seconds: float) -> list[Note]:
        promised, claimed = self.promised_seconds(), self._claimed - self._hidden
        kind = "truncated or damaged: shorter than the header specifies"
        if (
            promised is not None
            and not self._has_avi_index
            and promised - seconds > max(MISSING_TAIL, promised * MISSING_SHARE)
        ):
            text = f"the header specifies {promised:.1f} s, but the file ends at {seconds:.1f} s, after {frames} frames"
        elif claimed - self._spanned(frames) > max(1, claimed * MISSING_SHARE):
            text = f"the header specifies {claimed} frames, but only {frames} can be read"
        else:
            return []
        return [Note(f"{text}: the file is truncated or damaged", kind)]

    def _spanned(self, frames: int) -> int:
        """Return the number of frames, including those that repeat the frame before."""
        if self._is_avi and not self._has_avi_index and self._first is not None:
            # Time stamps of AVI count chunks, also empty ones.
            return max(frames, self._last - self._first + 1)
        return frames

    def promised_seconds(self) -> float | None:
        """Return the duration in the header; None if there is none, or if it may be that of the audio."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        # The duration of a container applies to its longest stream, which is often the audio.
        if self._container.duration is not None and len(self._container.streams) == 1:
            return self._container.duration / av.time_base
        return None


def _avi_chunk_sizes(path: Path, stream: int) -> list[int]:
    """Return the sizes in bytes of the chunks of a stream of an AVI file; empty if the file has no index.

    FFmpeg's own index contains no empty chunks, and chunks that were found without an index.
    """
    prefix = b"%02d" % stream
    try:
        return [size for name, _, _, size in INDEX_ENTRY.iter_unpack(_avi_index(path)) if name[:2] == prefix]
    except (OSError, struct.error):
        return []


def _avi_index(path: Path) -> bytes:
    """Return the content of the chunk `idx1`; empty if there is none."""
    with path.open("rb") as file:
        file.seek(12)
        for _ in range(MOST_CHUNKS):
            name, size = struct.unpack("<4sI", file.read(8))
            if name == b"idx1":
                content = file.read(size)
                return content[: len(content) // INDEX_ENTRY.size * INDEX_ENTRY.size]
            file.seek(size + size % 2, 1)
    return b""
