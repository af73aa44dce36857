# SPDX-License-Identifier: Apache-2.0
"""Small PNG charts with Pillow alone: lines and heat maps. (Matplotlib of Debian 12 pulls in Boost 1.74's headers,
which conflict with the 1.81 ones the daemon is built with.)"""
import math
import os
from typing import Dict, List, Optional, Sequence, Tuple

from PIL import Image, ImageDraw, ImageFont

_COLOURS = ("#1f6fb4", "#d1495b", "#2e933c", "#7d53a8", "#c98a00", "#555555")
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 32, 48


def _font() -> ImageFont.ImageFont:
    return ImageFont.load_default()


def lines(path: os.PathLike, title: str, x_label: str, y_label: str, series: Dict[str, Sequence[Tuple[float, float]]],
          log_x: bool = False, size: Tuple[int, int] = (640, 360)) -> None:
    """One line with points per series of (x, y); `log_x` needs x > 0."""
    image = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(image), _font()
    points = [p for s in series.values() for p in s]
    along = (lambda x: math.log10(x)) if log_x else (lambda x: x)
    x0, x1 = _padded([along(x) for x, _ in points], 0.0)
    y0, y1 = _padded([y for _, y in points], 0.05)
    width, height = size[0] - _LEFT - _RIGHT, size[1] - _TOP - _BOTTOM

    def place(x: float, y: float) -> Tuple[float, float]:
        return _LEFT + (along(x) - x0) / (x1 - x0) * width, _TOP + height - (y - y0) / (y1 - y0) * height

    draw.text((_LEFT, 10), title, fill="black", font=font)
    for i in range(5):
        y = y0 + (y1 - y0) * i / 4
        at = _TOP + height - height * i / 4
        draw.line([(_LEFT, at), (_LEFT + width, at)], fill="#dddddd")
        draw.text((6, at - 6), "%.3g" % y, fill="black", font=font)
        x = x0 + (x1 - x0) * i / 4
        draw.text((_LEFT + width * i / 4 - 10, _TOP + height + 6), "%.3g" % (10 ** x if log_x else x), fill="black",
                  font=font)
    draw.text((_LEFT + width // 2 - 3 * len(x_label), size[1] - 18), x_label, fill="black", font=font)
    draw.text((6, 10), y_label[:9], fill="black", font=font)
    for i, (name, values) in enumerate(series.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        placed = [place(x, y) for x, y in values]
        if len(placed) > 1:
            draw.line(placed, fill=colour, width=2)
        if len(placed) <= 40:
            for x, y in placed:
                draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
        draw.text((size[0] - _RIGHT - 190, _TOP + 4 + 14 * i), name, fill=colour, font=font)
    image.save(path, optimize=True)


def heat_map(path: os.PathLike, title: str, rows: List[str], columns: List[str],
             values: List[List[Optional[float]]], cell: Tuple[int, int] = (46, 24)) -> None:
    """Cells 0..1 from white to blue with their number; None is left grey. Column names stand upright."""
    font = _font()
    left = 12 + 6 * max(len(r) for r in rows)
    top = 36 + 6 * max(len(c) for c in columns)
    image = Image.new("RGB", (left + cell[0] * len(columns) + 8, top + cell[1] * len(rows) + 8), "white")
    draw = ImageDraw.Draw(image)
    draw.text((8, 8), title, fill="black", font=font)
    for j, column in enumerate(columns):
        label = Image.new("RGB", (6 * len(column) + 4, 14), "white")
        ImageDraw.Draw(label).text((2, 1), column, fill="black", font=font)
        image.paste(label.rotate(90, expand=True), (left + j * cell[0] + cell[0] // 2 - 7, top - 6 * len(column) - 6))
    for i, row in enumerate(rows):
        draw.text((8, top + i * cell[1] + 7), row, fill="black", font=font)
        for j, value in enumerate(values[i]):
            box = [left + j * cell[0], top + i * cell[1], left + (j + 1) * cell[0] - 2, top + (i + 1) * cell[1] - 2]
            if value is None:
                draw.rectangle(box, fill="#eeeeee")
                continue
            share = min(1.0, max(0.0, value))
            draw.rectangle(box, fill=tuple(int(255 + (dark - 255) * share) for dark in (18, 84, 160)))
            draw.text((box[0] + 8, box[1] + 6), "%.2f" % value, fill="white" if share > 0.55 else "black", font=font)
    image.save(path, optimize=True)


def _padded(values: Sequence[float], share: float) -> Tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return low - share * (high - low), high + share * (high - low)
