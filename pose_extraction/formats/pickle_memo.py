"""Check of the memo of a pickle, before it is read.

A pickle numbers the objects that it refers to again. The C implementation keeps them in a table that is as long as the
largest number, so a file of twenty bytes can demand gigabytes. No honest pickle numbers more objects than it has
bytes. This module walks over the opcodes without building anything.
"""

import mmap
import pickletools
import struct

_PUT, _LONG_BINPUT, _STOP = b"p"[0], b"r"[0], b"."[0]
# By opcode: its number of bytes with a fixed argument; otherwise one of the two kinds below, or 0 for no opcode.
_LINE, _COUNTED = -1, -2
_STEPS = [0] * 256
# For an argument that begins with its length: how that is stored. Negative lengths are damage, which is found later.
_LENGTHS: dict[int, struct.Struct] = {}
for _opcode in pickletools.opcodes:
    _code, _argument = ord(_opcode.code), _opcode.arg
    if _argument is None or _argument.n >= 0:
        _STEPS[_code] = 1 + (_argument.n if _argument else 0)
    elif _argument.n == pickletools.UP_TO_NEWLINE:
        _STEPS[_code] = _LINE
    else:
        _STEPS[_code] = _COUNTED
        _LENGTHS[_code] = struct.Struct(
            {
                pickletools.TAKEN_FROM_ARGUMENT1: "<B",
                pickletools.TAKEN_FROM_ARGUMENT4: "<i",
                pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
                pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
            }[_argument.n]
        )
# These have two lines: the module and the name.
_TWO_LINES = frozenset(ord(one.code) for one in pickletools.opcodes if one.arg is pickletools.stringnl_noescape_pair)
_INDEX = struct.Struct("<I")


def check_memo(content: bytes | mmap.mmap) -> None:
    """Refuse a pickle that numbers an object higher than its number of bytes.

    Args:
        content: The pickle. Damage ends the check: reading reports it.

    Raises:
        ValueError: It numbers an object higher. Reading any other pickle needs at most 16 bytes of memo for each byte.
    """
    size, position = len(content), 0
    while position < size:
        code = content[position]
        step = _STEPS[code]
        if step > 0:
            if code == _LONG_BINPUT and position + 5 <= size:
                _check(_INDEX.unpack_from(content, position + 1)[0], size)
            elif code == _STOP:
                return
        elif step == _LINE:
            end = content.find(b"\n", position)
            if code == _PUT:
                _check(_decimal(content[position + 1 : end]), size)
            if code in _TWO_LINES and end >= 0:
                end = content.find(b"\n", end + 1)
            if end < 0:
                return
            step = end + 1 - position
        elif step == _COUNTED:
            length = _LENGTHS[code]
            if position + 1 + length.size > size:
                return
            count = length.unpack_from(content, position + 1)[0]
            if count < 0:
                return
            step = 1 + length.size + count
        else:
            return
        position += step


def _decimal(text: bytes) -> int:
    """A number as the unpickler reads it, which accepts signs and underscores; -1 for anything else."""
    try:
        # Python refuses thousands of digits by itself.
        return int(text)
    except ValueError:
        return -1


def _check(index: int, size: int) -> None:
    if index > size:
        raise ValueError(f"it numbers an object {index} in {size} bytes")
