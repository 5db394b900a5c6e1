#!/bin/sh
# Makes everything that is generated from the Go types: deep copies, the CRD, and the OpenAPI definitions that the
# embedded API server needs for server-side apply and kubectl explain.
set -eu
cd "$(dirname "$0")/.."

# The tools have a go.mod of their own, so that they do not weigh on the program. They are built there and run here,
# because openapi-gen loads packages as the current module sees them.
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
go -C tools build -o "$tools/" k8s.io/kube-openapi/cmd/openapi-gen sigs.k8s.io/controller-tools/cmd/controller-gen

api=redstart.dev/redstart/api/v1alpha1
"$tools/controller-gen" object:headerFile=hack/boilerplate.go.txt paths=./api/...
# Descriptions are cut, or kubectl apply could not keep its copy of the CRD in an annotation; docs/redis-resource.md has ours in full.
"$tools/controller-gen" crd:generateEmbeddedObjectMeta=true,maxDescLen=250 paths=./api/... output:crd:dir=config/crd

"$tools/openapi-gen" \
	--go-header-file hack/boilerplate.go.txt \
	--output-dir internal/localcluster/apiserver/openapi \
	--output-pkg redstart.dev/redstart/internal/localcluster/apiserver/openapi \
	--output-file zz_generated.openapi.go \
	--output-model-name-file zz_generated.model_name.go \
	--readonly-pkg k8s.io/api/... --readonly-pkg k8s.io/apimachinery/... \
	--report-filename /dev/null \
	k8s.io/api/apps/v1 \
	k8s.io/api/autoscaling/v1 \
	k8s.io/api/batch/v1 \
	k8s.io/api/coordination/v1 \
	k8s.io/api/core/v1 \
	k8s.io/api/discovery/v1 \
	k8s.io/api/events/v1 \
	k8s.io/api/networking/v1 \
	k8s.io/api/policy/v1 \
	k8s.io/api/rbac/v1 \
	k8s.io/api/scheduling/v1alpha3 \
	k8s.io/apimachinery/pkg/api/resource \
	k8s.io/apimachinery/pkg/apis/meta/v1 \
	k8s.io/apimachinery/pkg/runtime \
	k8s.io/apimachinery/pkg/util/intstr \
	k8s.io/apimachinery/pkg/version \
	$api

# Formatted as all other code is, which what is checked before a change is taken demands.
go tool -modfile=tools/go.mod gofumpt -w internal/localcluster/apiserver/openapi/zz_generated.openapi.go
