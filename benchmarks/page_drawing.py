"""How long the page takes to draw 30 minutes of video with ten people: overlay and timeline, in a real browser.

    python benchmarks/page_drawing.py [--minutes 30] [--persons 10] [--frames 300]

The modules of the page draw a made scene, with windows of 0.75 s and a skeleton of every person in each of 30 frames
per second. One row per drawing: the overlay of one frame, with skeletons or also with attention; the timeline with the
whole clip, with a minute, and with ten seconds in view; the timeline while an edge is dragged. A picture on a screen of
60 Hz has 16.7 ms. Times are those of the drawing commands and of reading one pixel back, which waits until they are
executed. Without a graphics card, Chromium draws with the processor.
"""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from test_support.services.browser import missing_browser, opened_files, run_module, running_browser

# Body of a function that returns median and 95th percentile in milliseconds of each drawing.
MEASURE = Path(__file__).with_suffix(".js")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="length of the clip")
    parser.add_argument("--persons", type=int, default=10, help="people in each frame")
    parser.add_argument("--frames", type=int, default=300, help="drawings of each kind")
    given = vars(parser.parse_args())
    missing = missing_browser()
    if missing is not None:
        raise SystemExit(missing)
    with running_browser() as browser, opened_files(browser) as page:
        found: dict[str, Any] = run_module(page, "model/search.js", MEASURE.read_text("utf-8"), given)
    table = Table("drawing", "median, ms", "95th percentile, ms")
    for name, (median, high) in found.items():
        table.add_row(name, f"{median:.2f}", f"{high:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
