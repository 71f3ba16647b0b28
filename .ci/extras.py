"""Prints the names of the extras of a wheel: python .ci/extras.py FILE.whl"""

import sys
import zipfile
from email.parser import HeaderParser

with zipfile.ZipFile(sys.argv[1]) as wheel:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    extras = HeaderParser().parsestr(wheel.read(name).decode()).get_all("Provides-Extra", [])
sys.stdout.write(" ".join(extras) + "\n")
