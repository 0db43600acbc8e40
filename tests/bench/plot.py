#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draw the result of bench.py: plot.py RESULT.json FILE.svg

Each row is a line from p50 to p99 on a logarithmic scale, with a dot at p50 and a mark at p95.  The
drawing has a light background of its own, so that it can be read on pages of any colour.
"""

import json
import math
import sys
from html import escape

import measure
import rows

ORDER = ("pool", "restore", "restore.command", "restore.first_exec", "run_command",
         "pool_run_command",
         "restore_cold", "restore_plain_cold", "cold_boot", "floor", "floor_cold", "loadvm",
         "incoming", "q35_incoming", "libvirt")
WIDTH, LEFT, RIGHT, TOP, STEP, FOOT = 880, 350, 110, 66, 26, 76
OURS, OTHERS, INK, FAINT, GRID = "#0b62c4", "#8a5a00", "#1c2128", "#57606a", "#d0d7de"
STYLE = ("text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:%s}"
         ".t{font-size:16px;font-weight:600}.s{font-size:12px;fill:%s}" % (INK, FAINT))


def number(ms):
    return f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms" if ms < 10000 else f"{ms / 1000:.1f} s"


def tick_name(ms):
    return f"{ms:g} ms" if ms < 1000 else f"{ms / 1000:g} s"


class Scale:
    """Maps milliseconds to x, from a power of ten below all values to 1, 2 or 5 x 10^n above them."""

    def __init__(self, low, high):
        self.low = 10 ** math.floor(math.log10(low))
        if low / self.low >= 5:
            self.low *= 5
        elif low / self.low >= 2:
            self.low *= 2
        self.high = high * 1.05

    def x(self, ms):
        part = math.log(ms / self.low) / math.log(self.high / self.low)
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def ticks(self):
        for exponent in range(-1, 6):
            for digit in (1, 2, 5):
                if self.low <= digit * 10 ** exponent <= self.high:
                    yield digit * 10 ** exponent


def row_svg(label, row, scale, y, colour):
    x50, x95, x99 = (scale.x(row[f"p{p}_ms"]) for p in (50, 95, 99))
    title = ", ".join(f"p{p} {number(row[f'p{p}_ms'])}" for p in (50, 95, 99))
    return (f'<g><title>{escape(label)}: {title}, n {row["n"]}</title>'
            f'<text x="{LEFT - 14}" y="{y + 4}" text-anchor="end">{escape(label)}</text>'
            f'<line x1="{x50:.1f}" y1="{y}" x2="{x99:.1f}" y2="{y}" stroke="{colour}" '
            'stroke-width="3" stroke-opacity=".45"/>'
            f'<line x1="{x95:.1f}" y1="{y - 5}" x2="{x95:.1f}" y2="{y + 5}" stroke="{colour}" '
            'stroke-width="2"/>'
            f'<circle cx="{x50:.1f}" cy="{y}" r="5" fill="{colour}"/>'
            f'<text x="{max(x99, x50 + 5) + 9:.1f}" y="{y + 4}">{number(row["p50_ms"])}</text></g>')


def axis_svg(scale, bottom):
    out, last = [], -100.0
    for tick in scale.ticks():
        x = scale.x(tick)
        out.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}" '
                   f'stroke="{GRID}"/>')
        if x - last > 40:
            out.append(f'<text class="s" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">'
                       f'{tick_name(tick)}</text>')
            last = x
    return out


def svg(result):
    keys = [key for key in ORDER if key in result["rows"]]
    table = [result["rows"][key] for key in keys]
    scale = Scale(min(row["p50_ms"] for row in table), max(row["p99_ms"] for row in table))
    bottom = TOP + STEP * len(keys)
    height = bottom + FOOT
    machine, guest = result["machine"], result["guest"]
    name, version = measure.vmm(machine).split()[:2]
    vmm = f"{name} {version} ({machine['accelerator']})"
    if machine.get("libvirt"):
        vmm += f", libvirt {machine['libvirt']}"
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           f'width="{WIDTH}" height="{height}" role="img">',
           f"<style>{STYLE}</style>",
           f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8" fill="#ffffff" '
           f'stroke="{GRID}"/>',
           '<text class="t" x="20" y="28">From a command to a VM that answers</text>',
           f'<text class="s" x="20" y="46">dot: p50, mark: p95, end of the line: p99; '
           f'n = {result["n"]}, sampled in turn; logarithmic scale</text>',
           *axis_svg(scale, bottom)]
    for i, (key, row) in enumerate(zip(keys, table)):
        ours = rows.LABELS[key].startswith("mvm")
        out.append(row_svg(rows.LABELS[key], row, scale, TOP + STEP * i + STEP // 2 - 4,
                           OURS if ours else OTHERS))
    lines = (f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; {vmm}",
             f"guest: {guest['vcpus']} vCPU, {guest['mem_mib']} MiB; {result['date']}")
    for i, line in enumerate(lines):
        out.append(f'<text class="s" x="20" y="{bottom + 42 + 17 * i}">{escape(line)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as source:
        drawing = svg(json.load(source))
    with open(sys.argv[2], "w", encoding="utf-8") as target:
        target.write(drawing)
