#!/bin/bash
# Runs all tests and closes with their count. All packages run under the race detector but those that start whole
# clusters, and the simulator: it has no goroutines, and under the detector some schedules are enough to see that.
set -euo pipefail
cd "$(dirname "$0")/.."

all=$(go list ./...)
whole=$(grep -E '/(test/e2e|cmd/redstart)(/|$)' <<<"$all" || true)
small=$(grep -vE '/(test/e2e|cmd/redstart|internal/plan)(/|$)' <<<"$all")

events=$(mktemp)
trap 'rm -f "$events"' EXIT
status=0
# shellcheck disable=SC2086 # the lists are words
{
	go test -race -json -count=1 -timeout 20m $small || status=1
	if [ "$(uname)" = Linux ]; then
		go test -C test/kubelab -json -count=1 -timeout 5m . || status=1
	fi
	go test -json -count=1 -timeout 20m ./internal/plan ./internal/lua || status=1
	go test -race -count=1 -timeout 20m ./internal/lua -run 'Conversion|Equal|Stops|Fuzz' || status=1
	go test -race -count=1 -timeout 20m ./internal/plan -args -seeds=200 || status=1
	# The charts' tests have a module of their own.
	go -C test/charts test -json -count=1 -timeout 20m . || status=1
	if [ -n "$whole" ]; then
		go test -json -count=1 -timeout 30m -p 1 $whole || status=1
	fi
	exit $status
} | go run ./hack/testsummary || exit 1
