# SPDX-License-Identifier: ISC
"""Keeps every measured value, and makes the table and the CSV of them."""
import csv
import os
import statistics

OURS, PEER = "pgpoold", "peer"


class Results:
    def __init__(self):
        self.values = {}     # (scenario, metric) -> subject -> [values]
        self.targets = {}    # (scenario, metric) -> (target as in the issue, target beside this peer)
        self.units = {}      # scenario -> what a value is per
        self.against = {}    # scenario -> the one whose figures of the peer it is held against
        self.notes = []      # what failed or needs a word

    def add(self, scenario, metric, subject, value):
        self.values.setdefault((scenario, metric), {}).setdefault(subject, []).append(value)

    def median(self, scenario, metric, subject):
        values = self.values.get((scenario, metric), {}).get(subject)
        return statistics.median(values) if values else None

    def ratio(self, scenario, metric):
        """Median of the rounds' own ratios: a machine that changes its pace changes both of a round."""
        ours = self.values.get((scenario, metric), {}).get(OURS, ())
        peer = self.values.get((self.against.get(scenario, scenario), metric), {}).get(PEER, ())
        pairs = [a / b for a, b in zip(ours, peer) if b]
        return statistics.median(pairs) if pairs else None

    def scenarios(self, metric):
        return [s for s, m in self.values if m == metric]

    def write_csv(self, path, titles):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "w", newline="", encoding="utf-8") as f:
            out = csv.writer(f)
            out.writerow(["scenario", "metric", "subject", "program", "median", "least", "most", "runs",
                          "ratio_to_peer", "target", "target_beside_this_peer"])
            for (scenario, metric), subjects in self.values.items():
                target, here = self.targets.get((scenario, metric), ("", ""))
                for subject, values in subjects.items():
                    ratio = self.ratio(scenario, metric) if subject == OURS else None
                    out.writerow([scenario, metric, subject, titles.get(subject, subject),
                                  f"{statistics.median(values):.6g}", f"{min(values):.6g}",
                                  f"{max(values):.6g}", len(values),
                                  "" if ratio is None else f"{ratio:.4f}", target, here])


def number(value, digits=2):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}f}"


def verdict(value, target):
    """Medians of a noisy machine: within 3 % of the target is called near."""
    if value is None or not target:
        return ""
    if value <= target:
        return "ok"
    return "near" if value <= target * 1.03 else "MISSED"


def print_table(title, header, rows):
    if not rows:
        return
    widths = [max(len(str(r[i])) for r in [header, *rows]) for i in range(len(header))]
    print(f"\n{title}")
    for row in [header, ["-" * w for w in widths], *rows]:
        cells = [str(c).ljust(w) if i == 0 else str(c).rjust(w)
                 for i, (c, w) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())


def cpu_rows(results):
    rows = []
    for s in results.scenarios("cpu"):
        ours, peer = (results.median(s, "cpu", who) for who in (OURS, PEER))
        haproxy, floor = (results.median(s, "cpu", who) for who in ("haproxy", "floor"))
        ratio = results.ratio(s, "cpu")
        target, here = results.targets.get((s, "cpu"), (0, 0))
        rows.append([s, results.units.get(s, "tx"), number(ours), number(peer), number(ratio),
                     number(haproxy / peer if haproxy and peer else None),
                     number(floor / peer if floor and peer else None),
                     number(target) if target else "-", number(here, 3) if target else "-",
                     verdict(ratio, here)])
    return rows


def count_rows(results, metric, digits):
    rows = []
    for s in results.scenarios(metric):
        ours, peer = (results.median(s, metric, who) for who in (OURS, PEER))
        target = results.targets.get((s, metric), (0, 0))[1]
        rows.append([s, results.units.get(s, "tx"), number(ours, digits), number(peer, digits),
                     number(results.ratio(s, metric)), number(target, digits) if target else "-",
                     verdict(ours, target)])
    return rows


def speed_rows(results):
    rows = []
    for s in results.scenarios("tps"):
        for subject in results.values[(s, "tps")]:
            m = {k: results.median(s, k, subject)
                 for k in ("tps", "p50_us", "p99_us", "max_us", "jain", "mb_per_s", "mean_us")}
            jain = "-" if m["jain"] is None else f"{m['jain']:.4f}"
            rows.append([s, subject, number(m["tps"], 1), number(m["p50_us"] or m["mean_us"], 0),
                         number(m["p99_us"], 0), number(m["max_us"], 0), jain,
                         number(m["mb_per_s"], 0) if results.units.get(s) == "mb" else "-"])
    return rows


def login_rows(results):
    rows = []
    for s in results.scenarios("logins_per_cpu_second"):
        ours, peer = (results.median(s, "logins_per_cpu_second", who) for who in (OURS, PEER))
        rows.append([s, number(ours, 0), number(peer, 0), number(ours / peer if ours and peer else None)])
    return rows


def tables(results, titles):
    """(title, header, rows) of each table that has rows."""
    ours, peer = titles[OURS], titles[PEER]
    counted = ["scenario", "unit", ours, peer, "ratio", "target", "verdict"]
    all_of_them = [
        (f"CPU time of the pooler, microseconds per unit (ratio: {ours} / {peer})",
         ["scenario", "unit", ours, peer, "ratio", "HAProxy", "floor", "target", "here", "verdict"],
         cpu_rows(results)),
        ("Syscalls per unit (strace)", counted, count_rows(results, "syscalls", 2)),
        ("User-space instructions per unit", counted, count_rows(results, "instructions", 0)),
        ("Logins per CPU second", ["scenario", ours, peer, "ratio"], login_rows(results)),
        ("Resident memory per idle client, bytes", counted,
         count_rows(results, "bytes_per_client", 0)),
        ("Idle process, microseconds of CPU a second", counted,
         count_rows(results, "idle_cpu_us_per_s", 0)),
        ("Throughput and latency (microseconds; pgbench: the mean as p50)",
         ["scenario", "subject", "tx/s", "p50", "p99", "max", "Jain", "MB/s"], speed_rows(results)),
    ]
    return [t for t in all_of_them if t[2]]


WORDS = "target: ratio to PgBouncer 1.25; here: the same beside this PgBouncer, which may be leaner."


def print_report(results, titles, more):
    """@more: tables of other files."""
    for title, header, rows in [*tables(results, titles), *more]:
        print_table(title, header, rows)
    print(f"\n{WORDS}")
    for note in results.notes:
        print(f"note: {note}")


def write_markdown(path, results, titles, more):
    """The same tables for PERFORMANCE.md."""
    with open(path, "w", encoding="utf-8") as f:
        for title, header, rows in [*tables(results, titles), *more]:
            f.write(f"**{title}**\n\n")
            for row in [header, ["---", *["--:"] * (len(header) - 1)], *rows]:
                f.write(f"| {' | '.join(map(str, row))} |\n")
            f.write("\n")
        f.write(f"{WORDS}\n\n")
        for note in results.notes:
            f.write(f"- {note}\n")
