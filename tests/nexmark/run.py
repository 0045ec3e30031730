#!/usr/bin/env python3
"""Nexmark queries and the orders jobs against expected results of an independent SQL engine.

    run.py --binary build/release/millrace [--crash] [--only q5] [--generated SEED ... --events N]

Without --generated: every committed fixture. With it: data made by generate.py for each seed, arrival up to 3 s out of
order, expected results by oracle.py (needs `pip install duckdb`). --crash: also in recovery mode local, killed by
SIGKILL at points of the epoch protocol and started again until it completes. Standard library only.
Prints a line per run and a summary; exit code 1 if any result differs.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import compare  # noqa: E402

# Query -> key columns of its versions; none: rows as a multiset.
QUERIES = {
    "q0": [], "q1": [], "q2": [], "q5": [], "q7w": [], "q10": [], "q11": [], "q12": [], "q14": [],
    "q15": ["day"], "q16": ["channel", "day"], "q17": ["auction", "day"], "q18": ["bidder", "auction"],
    "q19": ["auction", "rank_number"], "q21": [], "q22": [],
}
ORDERS = {
    "running": ["customer_id"],
    "tumbling": ["customer_id", "window_start", "window_end"],
    "hopping": ["customer_id", "window_start", "window_end"],
    "session": ["customer_id", "session_start", "session_end"],
    "session-dynamic": ["customer_id", "session_start", "session_end"],
}
CRASH_POINTS = ["local-decided:1", "before-commit:1", "before-commit:2", "local-decided:2", "store-ingested:1", "before-commit:5"]
TIMEOUT_S = 300


class Runner:
    def __init__(self, binary, only):
        self.binary, self.only = os.path.abspath(binary), only
        self.passed = self.failed = 0

    def wanted(self, name):
        return self.only is None or self.only in name

    def millrace(self, pipeline, data, out, folder, crash_point=None):
        environment = dict(os.environ, DATA=data, OUT=out)
        environment.pop("MILLRACE_CRASHPOINT", None)
        if crash_point:
            environment["MILLRACE_CRASHPOINT"] = crash_point
        daemon = os.path.join(folder, "millrace.yaml")
        with open(daemon, "w", encoding="utf-8") as file:
            file.write("data_dir: %s/state\n" % folder)
        return subprocess.run([self.binary, "run", "-q", "-c", daemon, pipeline], env=environment, timeout=TIMEOUT_S,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)

    def run(self, pipeline, data, out, folder, crash):
        """Number of lives; raises RuntimeError."""
        lives = 1
        if crash:
            text = open(pipeline, encoding="utf-8").read()
            pipeline = os.path.join(folder, "pipeline.yaml")
            with open(pipeline, "w", encoding="utf-8") as file:
                file.write(text + "\nrecovery: {mode: local, commit_interval: 1ms}\nstate: {memtable: 64KiB}\n")
            for point in CRASH_POINTS:
                ended = self.millrace(pipeline, data, out, folder, point)
                if ended.returncode == 0:
                    return lives
                if ended.returncode != -9:
                    raise RuntimeError(ended.stderr.decode(errors="replace")[-2000:])
                lives += 1
        ended = self.millrace(pipeline, data, out, folder)
        if ended.returncode != 0:
            raise RuntimeError(ended.stderr.decode(errors="replace")[-2000:])
        return lives

    def check(self, name, pipeline, data, compared, crash):
        """compared: list of (expected file or rows, suffix of the actual file, key columns)."""
        with tempfile.TemporaryDirectory(prefix="millrace-nexmark-") as folder:
            out = os.path.join(folder, "out.jsonl")
            try:
                lives = self.run(pipeline, data, out, folder, crash)
                ok = all(self.same(expected, out + suffix, keys) for expected, suffix, keys in compared)
            except (RuntimeError, compare.Unreadable, subprocess.TimeoutExpired) as error:
                print(error)
                ok, lives = False, 0
        self.passed += ok
        self.failed += not ok
        how = " in %d lives" % lives if crash else ""
        print("%s %s%s" % ("ok  " if ok else "FAIL", name, how), flush=True)

    @staticmethod
    def same(expected, actual, keys):
        rows = compare.load(expected) if isinstance(expected, str) else expected
        columns = sorted({column for row in rows for column in row})
        return compare.compare(rows, compare.load(actual), cols=columns, upsert=keys, key=[], unwrap_rows=False,
                               rel=1e-9, abs_=1e-6, limit=5)


def merge_streams(source, target):
    """events.jsonl of a fixture that has the streams one by one, by time."""
    events = []
    for order, kind in enumerate(("person", "auction", "bid")):
        with open(os.path.join(source, kind + ".jsonl"), encoding="utf-8") as file:
            for line in file:
                event = json.loads(line)
                events.append((event["dateTime"], order, len(events), json.dumps({"type": kind, **event})))
    with open(os.path.join(target, "events.jsonl"), "w", encoding="utf-8") as file:
        file.writelines(event[3] + "\n" for event in sorted(events))


def run_fixtures(runner, crash):
    fixtures = os.path.join(HERE, "fixtures")
    with tempfile.TemporaryDirectory(prefix="millrace-nexmark-") as day:
        merge_streams(os.path.join(fixtures, "day", "data"), day)
        sets = {"small": (os.path.join(fixtures, "small", "data"), "small"),
                "jitter": (os.path.join(fixtures, "jitter"), "small"),
                "edges": (os.path.join(fixtures, "edges", "data"), "edges"), "day": (day, "day")}
        for query, keys in QUERIES.items():
            for fixture, (data, answers) in sets.items():
                expected = os.path.join(fixtures, answers, "expected", query + ".jsonl")
                if os.path.exists(expected) and runner.wanted(query):
                    pipeline = os.path.join(ROOT, "configs", "nexmark", query + ".yaml")
                    runner.check("%s %s" % (query, fixture), pipeline, data, [(expected, "", keys)], crash)
    orders = os.path.join(fixtures, "orders")
    for job, keys in ORDERS.items():
        if runner.wanted("orders " + job):
            expected = os.path.join(orders, "expected", job + ".jsonl")
            runner.check("orders " + job, os.path.join(HERE, "orders", job + ".yaml"), orders, [(expected, "", keys)], crash)
    for job in ("tumbling-w20s-l0", "tumbling-w20s-l2m"):
        if runner.wanted("orders " + job):
            runner.check("orders " + job, os.path.join(HERE, "orders", job + ".yaml"), orders,
                         lateness_files(os.path.join(orders, "expected", job)), crash)


def lateness_files(folder):
    """On-time rows and updates as they were emitted, the last version per window, and the late rows."""
    emitted = compare.load(os.path.join(folder, "ontime.jsonl"))
    for row in compare.load(os.path.join(folder, "updates.jsonl")):
        row.pop("order_id")
        emitted.append(row)
    return [(emitted, "", []),
            (os.path.join(folder, "final.jsonl"), "", ["customer_id", "window_start", "window_end"]),
            (os.path.join(folder, "late.jsonl"), ".late", [])]


def run_generated(runner, seeds, events, crash):
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="millrace-nexmark-") as data:
            subprocess.run([sys.executable, os.path.join(HERE, "generate.py"), "--seed", str(seed), "--events",
                            str(events), "--rate", "1000", "--jitter-ms", "3000", "--out", data], check=True)
            for query, keys in QUERIES.items():
                if not runner.wanted(query):
                    continue
                expected = os.path.join(data, query + ".expected")
                subprocess.run([sys.executable, os.path.join(HERE, "oracle.py"), "--data", data, "--query", query,
                                "--out", expected], check=True, stdout=subprocess.DEVNULL)
                pipeline = os.path.join(ROOT, "configs", "nexmark", query + ".yaml")
                runner.check("%s seed %d" % (query, seed), pipeline, data, [(expected, "", keys)], False)
                if crash:
                    runner.check("%s seed %d" % (query, seed), pipeline, data, [(expected, "", keys)], True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--only")
    parser.add_argument("--crash", action="store_true")
    parser.add_argument("--generated", type=int, nargs="*")
    parser.add_argument("--events", type=int, default=200000)
    options = parser.parse_args()
    runner = Runner(options.binary, options.only)
    if options.generated:
        run_generated(runner, options.generated, options.events, options.crash)
    else:
        run_fixtures(runner, False)
        if options.crash:
            run_fixtures(runner, True)
    print("%d passed, %d failed" % (runner.passed, runner.failed))
    return 1 if runner.failed or runner.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
