#!/bin/bash
# Runs the end-to-end suite on a real Kubernetes: the cluster of $KUBECONFIG if that is set (where the operator's image is
# $REDSTART_IMAGE, and scenarios that break nodes are skipped), else three nodes on this machine, which are removed
# afterwards. Arguments are the test's own: -scenarios=core, -trials=3, -test.run=REGEXP.
set -euo pipefail
cd "$(dirname "$0")/.."

suite() {
	go test -count=1 -timeout 80m -v ./test/e2e/... -args -backend=kubernetes "$@"
}

if [ -n "${KUBECONFIG:-}" ]; then
	suite "$@"
	exit
fi

lab=$PWD/bin/kubelab
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "e2e: nodes on this machine are root's to make: run it as root, or set KUBECONFIG" >&2
		exit 1
	}
	exec sudo --preserve-env=PATH,HOME,GOPATH,GOCACHE,GOMODCACHE,GOPROXY,GOFLAGS,XDG_CACHE_HOME,REDSTART_IMAGE "$0" "$@"
fi
go build -C test/kubelab -o "$lab" .
trap '"$lab" down' EXIT
"$lab" up --nodes 3
KUBECONFIG=$("$lab" kubeconfig)
export KUBECONFIG KUBELAB=$lab
suite "$@"
