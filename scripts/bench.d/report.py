"""The tables, and each target beside its figure."""


def speed_table(figures):
    """Rows by contender name, each also as a multiple of the pull from the registry and of igzip."""
    base = figures["pull, registry"].median
    floor = figures["igzip -dc"].median if "igzip -dc" in figures else None
    rows = []
    for name, runs in figures.items():
        row = runs.row(name)
        row["timesOfPull"] = round(runs.median / base, 2)
        row["timesOfIgzip"] = round(runs.median / floor, 2) if floor else None
        rows.append(row)
    return rows


def print_speed(rows):
    print(f"{'':17} {'runs':>4} {'seconds':>8} {'min':>7} {'max':>7} {'CPU s':>7} {'× pull':>7} {'× igzip':>8} "
          f"{'peak MB':>8}")
    for row in rows:
        igzip = f"{row['timesOfIgzip']:8.2f}" if row["timesOfIgzip"] else f"{'':8}"
        print(f"{row['what']:17} {row['runs']:4} {row['seconds']:8.2f} {row['min']:7.2f} {row['max']:7.2f} "
              f"{row['processorSeconds']:7.2f} {row['timesOfPull']:7.2f} {igzip} {row['peakBytes'] / 1e6:8.0f}")


def print_scaling(rows):
    print(f"\n{'pull of a layout':17} {'runs':>4} {'seconds':>8} {'min':>7} {'max':>7} {'CPU s':>7} {'µs/entry':>9} "
          f"{'peak MB':>8}")
    for row in rows:
        each = f"{row['microsecondsPerEntry']:9.1f}" if "entries" in row else f"{'':9}"
        print(f"{row['what']:17} {row['runs']:4} {row['seconds']:8.2f} {row['min']:7.2f} {row['max']:7.2f} "
              f"{row['processorSeconds']:7.2f} {each} {row['peakBytes'] / 1e6:8.0f}")


def targets(speed, scaling):
    """What was aimed at: text, figure, limit, whether a smaller figure is better."""
    row = {row["what"]: row for row in speed}
    pull, found = row.get("pull, registry"), []
    if pull and "pipeline" in row:
        found.append(("pull from the registry / pipeline", pull["seconds"] / row["pipeline"]["seconds"], 0.55, True))
    if pull and "today's tools" in row:
        found.append(("today's tools / pull from the registry", row["today's tools"]["seconds"] / pull["seconds"], 15,
                      False))
    if "igzip -dc" in row:
        for name in ("registry", "layout"):
            ratio = row[f"pull, {name}"]["seconds"] / row["igzip -dc"]["seconds"]
            found.append((f"pull from the {name} / igzip -dc", ratio, 1.5, True))
            found.append((f"pull from the {name} / igzip -dc, the aim", ratio, 1.25, True))
    pulls = [row for row in speed + scaling if row["what"].startswith(("pull", "content", "files", "names"))]
    if pulls:
        found.append(("largest peak of memory in MB", max(row["peakBytes"] for row in pulls) / 1e6, 300, True))
    return [{"target": text, "figure": round(figure, 2), "limit": limit, "atMost": at_most,
             "met": figure <= limit if at_most else figure >= limit} for text, figure, limit, at_most in found]


def print_targets(rows):
    print()
    for row in rows:
        print(f"{row['target']:45} {row['figure']:7.2f}  {'≤' if row['atMost'] else '≥'} {row['limit']:<5} "
              f"{'met' if row['met'] else 'missed'}")
