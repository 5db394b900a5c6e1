module redstart.dev/redstart/test/kubelab

go 1.26.0
