#!/usr/bin/env python3
"""Many windows opened and expired with a bounded number of live ones: does anything grow?

    bounded.py --binary build/release/millrace --work DIR [--windows 10000000] [--live 1000000]

Keys come round after `live` rows, one second of event time; each row opens a window that the next second closes. Prints
for every `live` windows: CPU microseconds per window (row, window, firing and expiry), resident memory, state that
waits for the store, epochs decided; then CPU per window as a plot. Standard library only.
"""
import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

PIPELINE = """version: 1
name: bounded
recovery: {{mode: {mode}}}
sources:
  rows:
    generator:
      count: {windows}
      fields: {{key: 'string(index % {live})', at: 'timestamp_ms(1700000000000 + index * 1000 / {live})', amount: 'random(1, 100)'}}
    schema: {{key: string, at: timestamp_ms, amount: int}}
    event_time: at
operators:
  - id: windows
    aggregate:
      key_by: [key]
      window: {{tumbling: {{size: 1s}}}}
      fields: {{key: key(key), from: window.start, amount: sum(amount)}}
sinks:
  out: {{blackhole: {{}}}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def metrics(port):
    """Name without labels -> value, summed over labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    values = {}
    for name, value in re.findall(r"^(millrace_\w+)(?:\{.*\})? (\S+)$", text, re.M):
        values[name] = values.get(name, 0.0) + float(value)
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--windows", type=int, default=10_000_000)
    parser.add_argument("--live", type=int, default=1_000_000)
    parser.add_argument("--mode", default="local")
    arguments = parser.parse_args()
    folder = os.path.join(arguments.work, "bounded")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    pipeline = os.path.join(folder, "bounded.yaml")
    daemon = os.path.join(folder, "millrace.yaml")
    port = free_port()
    with open(pipeline, "w") as file:
        file.write(PIPELINE.format(windows=arguments.windows, live=arguments.live, mode=arguments.mode))
    with open(daemon, "w") as file:
        file.write(f'data_dir: {folder}/data\nadmin: {{listen: "127.0.0.1:{port}"}}\n')
    process = subprocess.Popen([arguments.binary, "run", "-q", "-c", daemon, pipeline])
    rows = []
    next_row = 0
    peak = 0.0
    try:
        while process.poll() is None:
            time.sleep(0.1)
            try:
                now = metrics(port)
            except OSError:
                continue
            peak = max(peak, now.get("millrace_process_resident_memory_bytes", 0.0))
            records = now.get("millrace_records_in_total", 0.0)
            if records >= next_row:
                rows.append((records, now))
                next_row = (records // arguments.live + 1) * arguments.live
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=30)
    if process.returncode != 0:
        sys.exit(f"millrace ended with {process.returncode}")
    print("windows opened   fired        CPU us/window   MB resident   MB pending   epochs")
    costs = []
    for (before, then), (after, now) in zip(rows, rows[1:]):
        cpu = now["millrace_process_cpu_seconds_total"] - then["millrace_process_cpu_seconds_total"]
        costs.append(cpu * 1e6 / (after - before))
        print(f"{after:14.0f} {now.get('millrace_windows_fired_total', 0):12.0f} {costs[-1]:12.2f} "
              f"{now['millrace_process_resident_memory_bytes'] / 1e6:13.0f} "
              f"{now.get('millrace_state_pending_bytes', 0) / 1e6:12.0f} {now.get('millrace_commits_total', 0):10.0f}")
    for cost in costs:
        print(f"{cost:6.2f} us |" + "#" * round(cost * 40 / max(costs)))
    print(f"peak {peak / 1e6:.0f} MB; the dearest step costs {max(costs) / (sum(costs) / len(costs)):.2f} x the mean")


if __name__ == "__main__":
    main()
