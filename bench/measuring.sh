# Shared by the bench scripts: paths, the meter, small helpers. Source it.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
rig=$here/rig
work=$here/.build
millrace=$root/build/release/millrace
broker=127.0.0.1:19092
mkdir -p "$work"
export PKG_CONFIG_PATH=/usr/local/lib/pkgconfig:${PKG_CONFIG_PATH:-}

note() { echo "$*" | tee -a "$work/results.txt"; }
measure() { "$rig/.build/measure" "$@"; }
pid_of_broker() { cat "$rig/.build/broker/pid"; }
field() { sed -n "s/.*[ ^]$1=\([0-9.]*\).*/\1/p" | head -n 1; }

make_orders_file() {
  [ -s "$work/orders.jsonl" ] || python3 "$here/orders_file.py" 5000000 100000 >"$work/orders.jsonl"
}
