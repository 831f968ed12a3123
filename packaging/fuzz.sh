#!/usr/bin/env bash
# Runs every fuzz target of the module for a time ($1, default 10s), one after
# the other: Go fuzzes one target at a time.
set -euo pipefail
time=${1:-10s}
n=0

# ended reports whether a run that failed found nothing: before Go 1.27 the end of
# -fuzztime can be taken for a failure (golang/go#75804). What was really found
# comes with the input, or with the entry of the corpus, that shows it.
ended() {
	grep -qx ' *context deadline exceeded' <<<"$1" &&
		! grep -qE 'Failing input written|seed corpus entry|panic:|DATA RACE|fuzzing process' <<<"$1"
}

while read -r file; do
	dir=$(dirname "$file")
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$file"); do
		printf 'fuzz ./%s %s %s\n' "$dir" "$target" "$time"
		if ! out=$(go test "./$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 5x </dev/null 2>&1) && ! ended "$out"; then
			printf '%s\n' "$out"
			exit 1
		fi
		n=$((n + 1))
	done
done < <(git ls-files '*_test.go' | xargs grep -l '^func Fuzz' | sort)
echo "$n fuzz targets found nothing"
