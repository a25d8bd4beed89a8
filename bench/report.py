"""Numbers of a result of bench/run.py: medians, ratios, the table on the terminal."""

import statistics

from setups import TITLES


def quartiles(values):
    values = sorted(values)
    if len(values) < 3:
        return values[0], statistics.median(values), values[-1]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def rate(run):
    return run["operations"] / run["seconds"]


def ratios(case, setup, number=rate):
    """Of each repetition: setup to plain SQLite, which ran beside it."""
    pairs = zip(case["runs"].get(setup, []), case["runs"]["plain"])
    return [number(run) / number(plain) for run, plain in pairs if number(plain)]


def daemon_us_per_operation(case, setup):
    return statistics.median(
        1e6 * (run["daemon"]["cpu_s"] + sum(r["cpu_s"] for r in run["replicas"])) /
        run["operations"] for run in case["runs"][setup])


def spread(values, digits=2):
    low, middle, high = quartiles(values)
    return f"{middle:.{digits}f} [{low:.{digits}f} {high:.{digits}f}]"


def latency_cell(runs):
    return "/".join(f"{statistics.median(run[key] for run in runs):.0f}"
                    for key in ("p50_us", "p99_us", "p999_us"))


def print_table(result):
    """One block a case, one line a setup."""
    print(f"{'workload':<24}{'setup':<24}{'op/s':>10}  {'ratio to plain [quartiles]':<28}"
          f"{'p50/p99/p99.9 µs':<22}{'p99 x':>6}{'app µs':>8}{'daemons µs':>11}{'KiB out':>9}"
          f"{'MiB':>6}{'late ms':>8}")
    for case in result["cases"]:
        for setup, runs in case["runs"].items():
            if not runs:
                continue
            operations = runs[0]["operations"]
            app_us = statistics.median(1e6 * (r["user_s"] + r["system_s"]) / operations for r in runs)
            line = (f"{case['name']:<24}{TITLES.get(setup, setup):<24}"
                    f"{statistics.median(map(rate, runs)):>10.0f}  ")
            if setup == "plain":
                line += f"{'':<28}{latency_cell(runs):<22}{'':>6}{app_us:>8.1f}"
            else:
                p99 = statistics.median(ratios(case, setup, lambda r: r["p99_us"]))
                wrote = statistics.median(
                    r["daemon"]["wrote_bytes"] + sum(x["wrote_bytes"] for x in r["replicas"])
                    for r in runs)
                line += (f"{spread(ratios(case, setup)):<28}{latency_cell(runs):<22}{p99:>6.2f}"
                         f"{app_us:>8.1f}{daemon_us_per_operation(case, setup):>11.1f}"
                         f"{wrote / operations / 1024:>9.2f}"
                         f"{max(r['daemon']['rss_kib'] for r in runs) / 1024:>6.0f}"
                         f"{1000 * statistics.median(r['catch_up_s'] for r in runs):>8.0f}")
            print(line)
    for lag in result.get("lag", []):
        print(f"{lag['name']:<24}{'commit to visible':<24}" +
              "  ".join(f"{key[:-3]} {statistics.median(r[key] for r in lag['runs']) / 1000:.2f} ms"
                        for key in ("p50_us", "p99_us", "p999_us")))
    if result.get("parts"):
        print_parts(result["parts"])


def print_parts(parts):
    for part in parts:
        if part.get("run_type") == "aggregate" and part["aggregate_name"] != "median":
            continue
        speed = part.get("bytes_per_second")
        text = f"{speed / 1e6:.0f} MB/s" if speed else f"{part['real_time']:.1f} {part['time_unit']}"
        print(f"{part['name']:<60}{text:>16}")
