#!/usr/bin/env python3
"""Draws a result of bench/run.py: the ratio to plain SQLite of every case and setup, with quartiles.

    bench/plot.py RESULT.json OUT.svg
"""

import html
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import report  # noqa: E402
from setups import TITLES  # noqa: E402

COLOURS = {"shim": "#1b6ca8", "replica": "#e08e0b", "replicas3": "#7a3e9d", "archive": "#3a7d44"}
LEFT, RIGHT, TOP, BOTTOM = 170, 40, 84, 44  # margins
PLOT = 640
BAR, GAP = 9, 10
MOST = 1.25  # the axis ends here; a longer bar is cut and its number says so


class Drawing:
    def __init__(self):
        self.parts = []

    def text(self, x, y, text, size=12, anchor="start", fill="#222"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
                          f'fill="{fill}">{html.escape(text)}</text>')

    def box(self, x, y, width, height, fill):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" '
                          f'height="{height:.1f}" fill="{fill}"/>')

    def line(self, x1, y1, x2, y2, colour="#222", width=1.0, dash=""):
        extra = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke="{colour}" stroke-width="{width}"{extra}/>')

    def svg(self, width, height):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
                f'viewBox="0 0 {width} {height:.0f}" font-family="sans-serif">\n'
                f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(self.parts) +
                "\n</svg>\n")


def across(ratio):
    return LEFT + min(ratio, MOST) / MOST * PLOT


def draw_bar(drawing, y, setup, values):
    low, middle, high = report.quartiles(values)
    drawing.box(LEFT, y, across(middle) - LEFT, BAR - 1, COLOURS.get(setup, "#777"))
    at = y + (BAR - 1) / 2
    drawing.line(across(low), at, across(high), at, width=1.2)
    for end in (low, high):
        drawing.line(across(end), at - 2.5, across(end), at + 2.5, width=1.2)
    drawing.text(across(max(middle, high)) + 5, y + BAR - 1, f"{middle:.2f}", size=9, fill="#444")


def draw(result):
    drawing = Drawing()
    names = [s for s in TITLES if s != "plain" and any(c["runs"].get(s) for c in result["cases"])]
    machine = result["machine"]
    drawing.text(LEFT, 22, "Speed as a ratio to plain SQLite in the same run", size=16)
    drawing.text(LEFT, 40, f"{machine['cores']} cores, {machine['cpu']}, {machine['filesystem']}, "
                 f"revision {machine['revision']}, median and quartiles of "
                 f"{result['options']['repeat']} repetitions", size=10, fill="#666")
    x = LEFT
    for name in names:
        drawing.box(x, 54, 12, 10, COLOURS.get(name, "#777"))
        drawing.text(x + 17, 63, TITLES[name], size=11)
        x += 30 + 7 * len(TITLES[name])
    y = TOP
    for case in result["cases"]:
        drawing.text(LEFT - 8, y + BAR * len(names) / 2 + 4, case["name"], anchor="end")
        for name in names:
            values = report.ratios(case, name)
            if values:
                draw_bar(drawing, y, name, values)
            y += BAR
        y += GAP
    for tick in (0, 0.25, 0.5, 0.75, 1.0, 1.25):
        drawing.line(across(tick), TOP - 6, across(tick), y,
                     colour="#222" if tick == 1 else "#ccc", dash="" if tick in (0, 1) else "2 3",
                     width=1.2 if tick == 1 else 0.8)
        drawing.text(across(tick), y + 16, f"{tick:g}", size=11, anchor="middle")
    drawing.text(LEFT + PLOT / 2, y + 34, "operations a second ÷ plain SQLite's", size=12,
                 anchor="middle")
    return drawing.svg(LEFT + PLOT + RIGHT, y + BOTTOM)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(draw(result))


if __name__ == "__main__":
    main()
