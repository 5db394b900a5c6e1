#!/bin/bash
# Measures the operator at size: bin/redstart against etcd, an API server and the workload controllers of Kubernetes, which kubelab
# builds when they are not in its cache. Arguments are the test's own: -redises=20, -run=TestRollouts.
set -euo pipefail
cd "$(dirname "$0")/.."

go build -C test/kubelab -o "$PWD/bin/kubelab" .
programs=$(bin/kubelab build)
exec go test -count=1 -timeout 3h -v ./test/scale -programs "$programs" -redstart "$PWD/bin/redstart" "$@"
