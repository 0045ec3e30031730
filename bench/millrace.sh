#!/bin/bash
# Millrace beside its peers, in one run on one machine: catch-up on 5 M orders, latency, recovery, memory. Prints ratios; results go to bench/.build/results.txt.
#   bench/millrace.sh setup              build the rig, start the broker, load the topic
#   bench/millrace.sh sum [pairs]        running sum, EOS, 100 ms: Kafka Streams, ceiling, millrace, in turn
#   bench/millrace.sh latency [runs]     5,000 orders/s: meter alone, Kafka Streams, millrace at 100 ms and 20 ms
#   bench/millrace.sh recover [keys]     state deleted, state intact, beside Kafka Streams; up to 1 M keys with five versions each too
#   bench/millrace.sh file               5 M orders, file -> aggregate -> blackhole
#   bench/millrace.sh memory             5 M distinct keys under 64/64/32 MiB, two passes
#   bench/millrace.sh stop
set -euo pipefail
# shellcheck source=bench/measuring.sh
. "$(dirname "$0")/measuring.sh"

# A fresh pipeline file: name, input topic, output topic, commit interval, more lines for recovery:
pipeline() {
  local name=$1 in=$2 out=$3 interval=$4
  cat >"$work/$name.yaml" <<YAML
version: 1
name: $name
kafka: {brokers: "$broker"}
recovery: {mode: changelog, guarantee: ${GUARANTEE:-exactly_once}, commit_interval: $interval}
state: {cache: ${CACHE:-64MiB}, block_cache: ${BLOCK_CACHE:-64MiB}, memtable: 32MiB}
sources:
  orders:
    kafka: {topic: $in}
    schema: {customer_id: string, amount: int, event_time: timestamp_ms, status: string}
operators:
  - id: paid
    filter: status == "paid"
  - id: revenue
    aggregate:
      key_by: [customer_id]
      fields: {customer_id: key(customer_id), revenue: sum(amount)}
      emit: ${EMIT:-update}
sinks:
  out:
    kafka: {topic: $out, key: customer_id}
    format: int64
    value: revenue
YAML
  printf 'data_dir: %s\n' "$work/$name-data" >"$work/$name-daemon.yaml"
  echo "$millrace run -c $work/$name-daemon.yaml $work/$name.yaml"
}

setup() {
  (cd "$rig" && ./build.sh)
  "$rig/broker.sh" start
  measure topic -o orders5m
  [ -f "$rig/.build/work/orders5m.txt" ] || "$rig/bench.sh" load
}

run_millrace() {
  local name=mr-$1-$$-$RANDOM in=$2 interval=$3 out
  out=revenue-$name
  local command
  command=$(pipeline "$name" "$in" "$out" "$interval")
  measure topic -o "$out"
  # shellcheck disable=SC2086  # the command is words
  note "millrace $1: $(measure job -i "$in" -g "$name" -o "$out" -p "$(pid_of_broker)" -l "$work/$name.log" -t 300 -- $command || true)"
  note "    $(measure verify -o "$out" -e "$(field sum <"$rig/.build/work/$in.txt")" || true)"
  tail -n 8 "$work/$name.log" >>"$work/results.txt" || true
  rm -rf "$work/$name-data"
}

ceiling() {
  local id=$$-$RANDOM
  for t in out log; do measure topic -o "ceiling-$id-$t"; done
  note "ceiling: $("$rig/.build/ceiling" orders5m "ceiling-$id-out" "ceiling-$id-log" 100)"
}

sum() {
  local pairs=${1:-3} i
  for i in $(seq "$pairs"); do
    note "--- pair $i, $(date -u +%FT%TZ)"
    (cd "$rig" && ./bench.sh streams-sum 1) | tee -a "$work/results.txt"
    ceiling
    run_millrace sum orders5m 100ms
  done
}

latency_millrace() {
  local label=$1 interval=$2 name in out load pid n
  name=lat-$label-$$
  in=orders-$name out=revenue-$name
  measure topic -o "$in"
  measure topic -o "$out"
  local command
  command=$(pipeline "$name" "$in" "$out" "$interval")
  "$rig/.build/orders" -t "$in" -n 5000 -r 5000 -m latency >/dev/null
  # shellcheck disable=SC2086
  setsid $command >"$work/$name.log" 2>&1 </dev/null &
  pid=$!
  n=0
  until measure verify -o "$out" | grep -q 'keys=[1-9]'; do
    n=$((n + 1))
    [ $n -gt 30 ] && { echo "no output"; kill "$pid"; return 1; }
    sleep 1
  done
  "$rig/.build/orders" -t "$in" -n $((5000 * 40)) -r 5000 -m latency -s 2 >"$work/$name.load" &
  load=$!
  note "latency millrace $label: $(measure latency -o "$out" -w 10 -t 40)"
  wait "$load"
  kill "$pid"
  wait "$pid" || true
}

latency() {
  local runs=${1:-1} i floor
  for i in $(seq "$runs"); do
    floor=floor-$$-$i
    measure topic -o "$floor"
    "$rig/.build/orders" -t "$floor" -n $((5000 * 40)) -r 5000 -m latency >/dev/null &
    local load=$!
    note "latency meter alone: $(measure latency -o "$floor" -w 10 -t 40)"
    wait "$load"
    latency_millrace 100ms 100ms
    latency_millrace 20ms 20ms
    GUARANTEE=at_least_once latency_millrace alo 100ms
    (cd "$rig" && ./latency.sh streams 1) | tee -a "$work/results.txt"
  done
}

recover_millrace() {
  local keys=$1 passes=$2 name in out command more sum
  name=rec-$keys-$passes-$$
  in=orders-$name out=revenue-$name
  measure topic -o "$in"
  measure topic -o "$out"
  "$rig/.build/orders" -t "$in" -n $((keys * passes)) -k "$keys" -q >"$work/$in.txt"
  command=$(pipeline "$name" "$in" "$out" 100ms)
  # shellcheck disable=SC2086
  note "recover millrace $keys keys, $passes versions, first pass: $(measure job -i "$in" -g "$name" -o "$out" -l "$work/$name.1.log" -s KILL -t 600 -- $command)"
  sum=$(field sum <"$work/$in.txt")
  local variant
  for variant in intact deleted; do
    [ $variant = deleted ] && rm -rf "$work/$name-data"
    more=$("$rig/.build/orders" -t "$in" -n 100 -k "$keys" -q -f $((keys * passes)) -s 7 | field sum)
    sum=$((sum + more))
    # shellcheck disable=SC2086
    note "recover millrace $keys keys, $passes versions, $variant: $(measure job -i "$in" -g "$name" -o "$out" -d received=100 -l "$work/$name.$variant.log" -s KILL -t 600 -- $command)"
    note "    $(measure verify -o "$out" -e "$sum" || true) $(grep -h 'restored\|replayed' "$work/$name.$variant.log" | tail -n 1)"
  done
  rm -rf "$work/$name-data"
}

recover() {
  local keys=${1:-1000000}
  local versions
  for versions in 1 5; do
    [ "$keys" -gt 1000000 ] && [ "$versions" -gt 1 ] && break
    recover_millrace "$keys" "$versions"
    (cd "$rig" && KEYS=$keys VERSIONS=$versions ./recover.sh streams 1) | tee -a "$work/results.txt"
  done
}

file() {
  make_orders_file
  cat >"$work/file.yaml" <<YAML
version: 1
name: file-blackhole
sources:
  orders:
    file: {path: $work/orders.jsonl}
    schema: {customer_id: string, amount: int, event_time: timestamp_ms, status: string}
operators:
  - id: paid
    filter: status == "paid"
  - id: revenue
    aggregate:
      key_by: [customer_id]
      fields: {customer_id: key(customer_id), revenue: sum(amount)}
sinks:
  out: {blackhole: {}}
YAML
  printf 'data_dir: %s\n' "$work/file-data" >"$work/file-daemon.yaml"
  local i
  for i in 1 2 3; do note "file -> aggregate -> blackhole: $("$millrace" run -c "$work/file-daemon.yaml" "$work/file.yaml" 2>&1 | tail -n 8 | tr '\n' ';')"; done
}

memory() {
  local name=mem-$$ in=orders-mem-$$ out=revenue-mem-$$ command pass
  measure topic -o "$in"
  measure topic -o "$out"
  command=$(pipeline "$name" "$in" "$out" 100ms)
  for pass in 1 2; do
    "$rig/.build/orders" -t "$in" -n 5000000 -k 5000000 -q -f $(((pass - 1) * 5000000)) >"$work/$in.txt"
    # shellcheck disable=SC2086
    note "memory pass $pass: $(measure job -i "$in" -g "$name" -o "$out" -l "$work/$name.log" -t 600 -- $command || true)"
  done
  rm -rf "$work/$name-data"
}

case ${1:-} in
  setup) setup ;;
  sum) sum "${2:-3}" ;;
  latency) latency "${2:-1}" ;;
  recover) recover "${2:-1000000}" ;;
  file) file ;;
  memory) memory ;;
  latency-alo) GUARANTEE=at_least_once latency_millrace alo 100ms ;;
  stop) "$rig/broker.sh" stop ;;
  *) sed -n '2,11p' "$0"; exit 2 ;;
esac
