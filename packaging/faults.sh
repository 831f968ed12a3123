#!/usr/bin/env bash
# Runs the randomised tests of power cuts, failing disks, crashes and a broken
# Postgres: RUNS in all, of which 80 % are power cuts. What is done is noted, so
# that the same SEED goes on where it was stopped.
#
#   packaging/faults.sh RUNS [SEED]
set -euo pipefail
cd "$(dirname "$0")/.."
runs=$1
seed=${2:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
mkdir -p .run
export CARBOND_FAULT_SEED=$seed CARBOND_FAULT_JOURNAL=$PWD/.run/faults-$seed
export CARBOND_FAULT_RUNS="cuts=$((runs * 79 / 100)) daemon=$((runs / 100)) live=$((runs * 7 / 100)) stream=$((runs * 10 / 100)) postgres=$((runs * 3 / 100))"
echo "seed $seed: $CARBOND_FAULT_RUNS; resume with FAULT_SEED=$seed"
bad=0
go test ./cmd/carbond/internal/faults ./replicate ./cmd/carbond/internal/e2e -p 1 -count=1 -timeout 0 -v \
	-run '^(TestPowerCuts|TestLiveFaults|TestStreamCrash|TestPostgresFaults|TestDaemonPowerCuts)$' || bad=1
echo
echo "seed $seed, runs by fault (${CARBOND_FAULT_JOURNAL#"$PWD"/}):"
awk -F'"' -v want="$CARBOND_FAULT_RUNS" '
	{ split($1, a, " "); kind[a[2]]++; fault[a[2] ": " $2]++; sum++ }
	END {
		for (f in fault) printf "%8d  %s\n", fault[f], f | "sort -k2"
		close("sort -k2")
		n = split(want, w, " ")
		for (i = 1; i <= n; i++) { split(w[i], p, "="); printf "%8d of %d %s\n", kind[p[1]], p[2], p[1]; all += p[2]; if (kind[p[1]] + 0 < p[2]) short = 1 }
		printf "%d of %d runs passed, nothing lost, doubled or unequal in them\n", sum, all
		exit short
	}' "$CARBOND_FAULT_JOURNAL" || bad=1
exit $bad
