package install

import (
	"io/fs"
	"path"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/config/crd"
	"redstart.dev/redstart/internal/operator/objects"
)

// ChartFiles are the files of charts/redstart/files, by name: what its templates take from here.
func ChartFiles() (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, rules := range map[string][]rbacv1.PolicyRule{
		"namespace": namespaceRules(), "cluster": objects.OperatorClusterRules(), "leader": objects.OperatorOwnRules(),
		"view": viewRules(), "edit": editRules(),
	} {
		b, err := yaml.Marshal(rules)
		if err != nil {
			return nil, err
		}
		files[name+".rules.yaml"] = b
	}
	err := fs.WalkDir(crd.Files, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := crd.Files.ReadFile(name)
		files[path.Join("crds", name)] = b
		return err
	})
	return files, err
}
