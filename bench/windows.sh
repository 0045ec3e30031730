#!/bin/bash
# Event time: windows beside Flink, and what windows cost from a file. Results go to bench/.build/results.txt.
#   bench/windows.sh flink [pairs]     5-minute tumbling revenue per customer, 5 M orders, at least once, heap, 10 s:
#                                      Flink heap, Millrace memory, in turn; then Flink RocksDB, Millrace exactly once 100 ms
#   bench/windows.sh latency [runs]    at least once at 5,000 orders/s: the meter alone, Flink, Millrace
#   bench/windows.sh file              tumbling, hopping with size/every = 60, sessions; file -> blackhole
#   bench/windows.sh nexmark           records/s of every Nexmark query, file -> blackhole
#   bench/windows.sh bounded           10 M windows opened and expired, 1 M live: memory and the cost of firing over time
# `bench/millrace.sh setup` first for those beside Flink.
set -euo pipefail
# shellcheck source=bench/measuring.sh
. "$(dirname "$0")/measuring.sh"

# A fresh pipeline file: name, output topic, recovery, state backend.
window_pipeline() {
  local name=$1 out=$2 recovery=$3 backend=$4
  cat >"$work/$name.yaml" <<YAML
version: 1
name: $name
kafka: {brokers: "$broker"}
recovery: $recovery
state: {backend: $backend}
sources:
  orders:
    kafka: {topic: orders5m}
    schema: {customer_id: string, amount: int, event_time: timestamp_ms, status: string}
    event_time: event_time
    watermark: {max_out_of_orderness: 30s}
operators:
  - id: revenue
    aggregate:
      key_by: [customer_id]
      window: {tumbling: {size: 5m}}
      fields: {customer_id: key(customer_id), from: window.start, revenue: sum(amount)}
  - id: pairs
    select:
      pair: customer_id + "@" + string(millis(from))
      revenue: revenue
sinks:
  out:
    kafka: {topic: $out, key: pair}
    format: int64
    value: revenue
YAML
  printf 'data_dir: %s\n' "$work/$name-data" >"$work/$name-daemon.yaml"
  echo "$millrace run -c $work/$name-daemon.yaml $work/$name.yaml"
}

run_window() {
  local label=$1 recovery=$2 backend=$3 name out command pairs
  name=win-$$-$RANDOM
  out=revenue-$name
  pairs=$(field pairs <"$rig/.build/work/orders5m.txt")
  command=$(window_pipeline "$name" "$out" "$recovery" "$backend")
  measure topic -o "$out"
  # shellcheck disable=SC2086  # the command is words
  note "millrace window, $label: $(measure job -i orders5m -g "$name" -o "$out" -d "output=$pairs" -p "$(pid_of_broker)" \
    -l "$work/$name.log" -t 300 -- $command || true)"
  note "    $(measure verify -o "$out" -e "$(field sum <"$rig/.build/work/orders5m.txt")" || true)"
  tail -n 8 "$work/$name.log" >>"$work/results.txt" || true
  rm -rf "$work/$name-data"
}

flink() {
  local pairs=${1:-1} i
  for i in $(seq "$pairs"); do
    note "--- windows, pair $i, $(date -u +%FT%TZ)"
    (cd "$rig" && ./bench.sh flink-window-heap 1) | tee -a "$work/results.txt"
    run_window "at least once, memory, 10 s" "{mode: changelog, guarantee: at_least_once, commit_interval: 10s}" memory
  done
  (cd "$rig" && ./bench.sh flink-window-rocksdb 1) | tee -a "$work/results.txt"
  run_window "at least once, rocksdb, 10 s" "{mode: changelog, guarantee: at_least_once, commit_interval: 10s}" rocksdb
  run_window "exactly once, rocksdb, 100 ms" "{mode: changelog, commit_interval: 100ms}" rocksdb
}

latency() {
  local runs=${1:-1} i floor load
  for i in $(seq "$runs"); do
    floor=floor-$$-$i
    measure topic -o "$floor"
    "$rig/.build/orders" -t "$floor" -n $((5000 * 40)) -r 5000 -m latency >/dev/null &
    load=$!
    note "latency meter alone: $(measure latency -o "$floor" -w 10 -t 40)"
    wait "$load"
    "$here/millrace.sh" latency-alo
    (cd "$rig" && ./latency.sh flink-alo-10s 1) | tee -a "$work/results.txt"
  done
}

# A window over the orders file: label, window, keys as an expression.
run_file() {
  local label=$1 window=$2 key=$3
  make_orders_file
  cat >"$work/window-file.yaml" <<YAML
version: 1
name: window-file
sources:
  orders:
    file: {path: $work/orders.jsonl}
    schema: {customer_id: string, amount: int, event_time: timestamp_ms, status: string}
    event_time: event_time
    watermark: {max_out_of_orderness: 5s}
operators:
  - id: keyed
    extend:
      k: $key
  - id: revenue
    aggregate:
      key_by: [k]
      window: $window
      fields: {k: key(k), from: window.start, to: window.end, revenue: sum(amount)}
sinks:
  out: {blackhole: {}}
YAML
  printf 'data_dir: %s\n' "$work/window-file-data" >"$work/window-file-daemon.yaml"
  note "$label: $("$millrace" run -c "$work/window-file-daemon.yaml" "$work/window-file.yaml" 2>&1 | tail -n 8 | tr '\n' ';')"
}

file() {
  local thousand='customer_id.substring(size(customer_id) - 3)'
  run_file "tumbling 5m, 100 k keys" "{tumbling: {size: 5m}}" customer_id
  run_file "tumbling 5m, 1,000 keys" "{tumbling: {size: 5m}}" "$thousand"
  run_file "hopping 5m every 5s, 1,000 keys" "{hopping: {size: 5m, every: 5s}}" "$thousand"
  run_file "sessions, gap 30 s, 100 k keys" "{session: {gap: 30s}}" customer_id
}

nexmark() {
  local data=$work/nexmark query
  [ -s "$data/events.jsonl" ] ||
    python3 "$root/tests/nexmark/generate.py" --seed 1 --events 2000000 --rate 10000 --jitter-ms 1000 --out "$data"
  for query in "$root"/configs/nexmark/q*.yaml; do
    [[ $query = *.test.yaml ]] && continue
    # The same pipeline into a blackhole.
    sed '/^sinks:/,$d' "$query" >"$work/nexmark.yaml"
    printf 'sinks:\n  out: {blackhole: {}}\n' >>"$work/nexmark.yaml"
    printf 'data_dir: %s\n' "$work/nexmark-data" >"$work/nexmark-daemon.yaml"
    note "nexmark $(basename "$query" .yaml): $(DATA=$data OUT=/dev/null "$millrace" run -c "$work/nexmark-daemon.yaml" "$work/nexmark.yaml" 2>&1 | tail -n 6 | tr '\n' ';')"
  done
}

bounded() { note "bounded: $("$here/bounded.py" --binary "$millrace" --work "$work" 2>&1)"; }

case ${1:-} in
  flink) flink "${2:-1}" ;;
  latency) latency "${2:-1}" ;;
  file) file ;;
  nexmark) nexmark ;;
  bounded) bounded ;;
  *) sed -n '2,9p' "$0"; exit 2 ;;
esac
