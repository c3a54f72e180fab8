"""The benchmarks' plot shows what the table says."""

from xml.etree import ElementTree as ET

from benchmarks.measure import DASH, Table, shown
from benchmarks.plot import Bar, bars, svg

TABLE = Table(
    "Throughput",
    ("way", "jobs/s"),
    [
        ("bare <aiohttp>", shown([1400.0, 1300.0, 1500.0])),
        ("Runner, aiohttp", shown([700.0])),
        ("nothing", DASH),
    ],
)


def test_bars_are_the_medians_with_least_and_greatest() -> None:
    assert bars(TABLE, "jobs/s") == [
        Bar("bare <aiohttp>", 1400, 1300, 1500),
        Bar("Runner, aiohttp", 700, 700, 700),
    ]


def test_the_drawing_is_xml_and_half_is_half_as_long() -> None:
    drawn = ET.fromstring(svg(TABLE, "jobs/s"))
    space = "{http://www.w3.org/2000/svg}"
    widths = [float(bar.get("width", "")) for bar in drawn.iter(f"{space}rect")]
    assert len(widths) == 2
    assert abs(widths[0] / widths[1] - 2) < 0.01
    words = [text.text for text in drawn.iter(f"{space}text")]
    assert "bare <aiohttp>" in words
    assert "1,400" in words
