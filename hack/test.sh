#!/bin/bash
# Runs all tests and closes with their count. The pure and small packages run under the race detector; those that start
# whole clusters or a browser run without it.
set -euo pipefail
cd "$(dirname "$0")/.."

all=$(go list ./...)
whole=$(grep -E '/(test/e2e|cmd/redstart)(/|$)' <<<"$all" || true)
small=$(grep -vE '/(test/e2e|cmd/redstart)(/|$)' <<<"$all")

events=$(mktemp)
trap 'rm -f "$events"' EXIT
status=0
# shellcheck disable=SC2086 # the lists are words
{
	go test -race -json -count=1 -timeout 20m $small || status=1
	if [ -n "$whole" ]; then
		go test -json -count=1 -timeout 30m -p 1 $whole || status=1
	fi
	exit $status
} | go run ./hack/testsummary || exit 1
