#!/bin/bash
# Runs all tests and closes with their count. All packages run under the race detector but those that start whole
# clusters, and the simulator: it has no goroutines, and under the detector some schedules are enough to see that.
set -euo pipefail
cd "$(dirname "$0")/.."

REDSTART_TEST_VALKEY=$(hack/valkey.sh)
export REDSTART_TEST_VALKEY
all=$(go list ./...)
whole=$(grep -E '/(test/e2e|cmd/redstart)(/|$)' <<<"$all" || true)
small=$(grep -vE '/(test/e2e|cmd/redstart|internal/plan)(/|$)' <<<"$all")

# compute runs what needs nothing but a processor.
compute() {
	local status=0
	go test -json -count=1 -timeout 20m ./internal/plan ./internal/lua || status=1
	go test -race -count=1 -timeout 20m ./internal/lua -run 'Conversion|Equal|Stops|Fuzz' || status=1
	go test -race -count=1 -timeout 20m -skip TestSimulatorCatches ./internal/plan -args -seeds=200 || status=1
	# The charts' tests have a module of their own.
	go -C test/charts test -json -count=1 -timeout 20m . || status=1
	return $status
}

# background runs a function behind everything else, by what the system has: a session of its own, which gives way as a
# whole (see sched_autogroup in sched(7)), or niceness.
background() {
	export -f "$1"
	if [ -w /proc/self/autogroup ]; then
		exec setsid nice -n 19 bash -c "echo 19 >/proc/self/autogroup; set -u; $1"
	fi
	exec nice -n 19 bash -c "set -u; $1"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
# shellcheck disable=SC2086 # the lists are words
{
	go test -race -json -count=1 -timeout 20m $small || status=1
	if [ "$(uname)" = Linux ]; then
		go test -C test/kubelab -json -count=1 -timeout 5m . || status=1
	fi
	# The whole clusters wait most of the time.
	background compute >"$work/compute" 2>&1 &
	computing=$!
	trap 'kill -- "-$computing" "$computing" 2>/dev/null || true' EXIT
	if [ -n "$whole" ]; then
		go test -json -count=1 -timeout 30m -p 1 $whole || status=1
	fi
	wait "$computing" || status=1
	cat "$work/compute"
	exit $status
} | go run ./hack/testsummary || exit 1
