package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// call runs one command line without a cluster.
func call(t *testing.T, in string, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Setenv("REDSTART_STATE_DIR", filepath.Join(t.TempDir(), "state"))
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"redstart"}, args...), strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

func TestInstallDryRun(t *testing.T) {
	code, out, errOut := call(t, "", "install", "--dry-run", "--image", "redstart:v1", "-n", "ops")
	if code != exitDone || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	for _, want := range []string{
		"name: redises.redstart.dev\n", "kind: Namespace\nmetadata:\n", "kind: Deployment\n", "image: redstart:v1\n",
		"- --agent-image=redstart:v1\n", "pod-security.kubernetes.io/enforce: restricted\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not print %q", want)
		}
	}
	if strings.Contains(out, "status:\n") && strings.Contains(out, "creationTimestamp: null") {
		t.Error("it prints what nobody set")
	}
	if _, out, _ := call(t, "", "install", "--dry-run", "--crds=false"); strings.Contains(out, "CustomResourceDefinition") {
		t.Error("--crds=false prints the definitions")
	}
}

func TestInstallRefuses(t *testing.T) {
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"install --replicas 3", "redstart: --replicas is 3; expected 1 or 2\n", exitUsage},
		{"install --image=", "redstart: --image \"\" is no image; expected for example registry.example.com/redstart:v1\n", exitUsage},
		{"install --image-pull-policy Often", "redstart: --image-pull-policy \"Often\" is not known; expected Always, IfNotPresent or Never\n", exitUsage},
		{"install --watch-namespace A", "redstart: \"A\" is no namespace; use lower case letters, digits and '-'\n", exitUsage},
		{"install somewhere", "redstart: unexpected argument \"somewhere\"; usage: redstart install [flags]\n", exitUsage},
		{"render", "redstart: which Redis? name its file, or - for standard input\n", exitUsage},
		{"render -o xml x.yaml", "redstart: --output \"xml\" is not known; expected one of yaml, json\n", exitUsage},
		{"render ../../examples/guestbook/frontend.yaml", "redstart: ../../examples/guestbook/frontend.yaml: no Redis found; the operator makes objects for nothing else\n", exitFailed},
	} {
		code, out, errOut := call(t, "", strings.Fields(tt.args)...)
		if code != tt.code || errOut != tt.want || out != "" {
			t.Errorf("%s: exit code %d, want %d; printed %q, %q, want\n%q", tt.args, code, tt.code, out, errOut, tt.want)
		}
	}
}

// What is printed is what the operator's own golden file says, but for owners that do not exist yet.
func TestRender(t *testing.T) {
	redis := "../../internal/operator/objects/testdata/replication-cluster.redis.yaml"
	code, out, errOut := call(t, "", "render", redis, "--image", "redstart:v1")
	if code != exitDone || strings.Contains(out, "ownerReferences") {
		t.Fatalf("exit code %d: %s\n%s", code, errOut, out)
	}
	golden, err := os.ReadFile(strings.Replace(redis, ".redis.", ".golden.", 1))
	if err != nil {
		t.Fatal(err)
	}
	// ConfigMaps hold the UID of the Redis, and the Secret is not in the golden file.
	if d := cmp.Diff(documents(string(golden), "StatefulSet", "Service", "Role", "RoleBinding"), documents(out, "StatefulSet", "Service", "Role", "RoleBinding")); d != "" {
		t.Errorf("it differs from what the operator builds:\n%s", d)
	}
	secrets := documents(out, "Secret")
	if len(secrets) != 1 || strings.Contains(secrets[0], "ata:\n  agent") || strings.Contains(secrets[0], "password") {
		t.Errorf("the Secret is not printed, or has data: %q", secrets)
	}
	if !strings.Contains(errOut, "Secrets are printed without data") {
		t.Errorf("it does not say what it does with the Secret: %q", errOut)
	}

	_, first, _ := call(t, cacheYAML, "render", "-", "-o", "json", "-n", "a")
	_, again, _ := call(t, cacheYAML, "render", "-", "-o", "json", "-n", "a")
	_, other, _ := call(t, cacheYAML, "render", "-", "-o", "json", "-n", "b")
	if first != again || strings.ReplaceAll(other, `"b"`, `"a"`) == first || !strings.Contains(first, `"kind": "List"`) {
		t.Error("the same file gives different objects, or two Redises of one name get the same identity")
	}
	owned := strings.Replace(cacheYAML, "name: cache", "name: cache\n  uid: 5c1c3c5e-0000-4000-8000-000000000001", 1)
	if _, out, _ := call(t, owned, "render", "-"); !strings.Contains(out, "uid: 5c1c3c5e-0000-4000-8000-000000000001") {
		t.Error("the owner of a Redis that exists is left out")
	}
}

// documents are those of some kinds, without owners and status, in the order of the text.
func documents(text string, kinds ...string) []string {
	var out []string
	for _, doc := range strings.Split("\n"+text, "\n---\n") {
		for _, kind := range kinds {
			if strings.Contains("\n"+doc+"\n", "\nkind: "+kind+"\n") {
				doc, _, _ = strings.Cut(doc, "\nstatus:") // the last field, which nobody applies
				out = append(out, strings.TrimSpace(withoutOwners(doc)))
			}
		}
	}
	return out
}

func withoutOwners(doc string) string {
	before, owners, found := strings.Cut(doc, "  ownerReferences:\n")
	if !found {
		return doc
	}
	lines := strings.Split(owners, "\n")
	for len(lines) > 0 && (strings.HasPrefix(lines[0], "  - ") || strings.HasPrefix(lines[0], "    ")) {
		lines = lines[1:]
	}
	return before + strings.Join(lines, "\n")
}

func TestImport(t *testing.T) {
	values := "architecture: replication\nauth: {password: hunter2}\nreplica: {replicaCount: 2}\nwhat: 1\n"
	code, out, errOut := call(t, values, "import", "-", "--from", "bitnami-redis", "--name", "cache")
	if code != exitDone || !strings.Contains(out, "kind: Redis\n") || !strings.Contains(out, "replicas: 3\n") || !strings.Contains(out, "password: hunter2\n") {
		t.Errorf("exit code %d, printed\n%s%s", code, out, errOut)
	}
	want := "mapped   architecture: \"replication\" -> spec.mode, spec.replicas\n" +
		"mapped   auth.password: (not shown) -> spec.auth.secretName (the password is in Secret cache-auth, which is printed too)\n" +
		"mapped   commonConfiguration: \"appendonly yes\\nsave \\\"\\\"\" -> spec.config[appendonly], spec.config[save] (the chart's default)\n" +
		"mapped   master.persistence.size: \"8Gi\" -> spec.storage.size (the chart's default)\n" +
		"mapped   replica.replicaCount: 2 -> spec.replicas (the master counts too)\n" +
		"dropped  what: 1 (this importer does not know it)\n5 values mapped, 1 dropped\n"
	if d := cmp.Diff(want, errOut); d != "" {
		t.Errorf("the report:\n%s", d)
	}
	for args, want := range map[string]string{
		"import":                              "redstart: which file? name one file of values or manifests, or - for standard input\n",
		"import - --from chart":               "redstart: --from \"chart\" is not known; expected one of bitnami-redis, bitnami-redis-cluster, dandydeveloper, kruise-rollout, redis-ha\n",
		"import - --from redis-ha --name A":   "redstart: --name \"A\" is no name; use lower case letters, digits and '-', beginning with a letter\n",
		"import /no/such --from redis-ha":     "redstart: open /no/such: no such file or directory\n",
		"import - --from redis-ha -o unknown": "redstart: --output \"unknown\" is not known; expected one of yaml, json\n",
	} {
		if code, _, errOut := call(t, "", strings.Fields(args)...); code == exitDone || errOut != want {
			t.Errorf("%s: exit code %d, printed %q, want %q", args, code, errOut, want)
		}
	}
}

func TestImportRollouts(t *testing.T) {
	const one = "apiVersion: rollouts.kruise.io/v1beta1\nkind: Rollout\nmetadata: {name: %s}\nspec: {workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}, strategy: {canary: {steps: [{replicas: 1}]}}}\n"
	two := fmt.Sprintf(one, "a") + "---\n" + fmt.Sprintf(one, "b")
	code, out, errOut := call(t, two, "import", "-", "--from", "kruise-rollout")
	if code != exitDone || strings.Count(out, "partition:") != 2 || strings.Count(errOut, "6 values mapped, 0 dropped") != 2 {
		t.Errorf("import of two Rollouts: %d\n%s%s", code, out, errOut)
	}
	item := "- " + strings.ReplaceAll(strings.TrimSuffix(fmt.Sprintf(one, "a"), "\n"), "\n", "\n  ") + "\n"
	list := "apiVersion: v1\nkind: List\nitems:\n" + item
	if code, out, errOut := call(t, list+item, "import", "-", "--from", "kruise-rollout"); code != exitDone || strings.Count(out, "partition:") != 2 {
		t.Errorf("import of a List: %d\n%s%s", code, out, errOut)
	}
	for in, want := range map[string]string{
		list + "- {kind: Service}\n":   "redstart: -: document 1, item 2: kind: Service of apiVersion \"\"; expected Rollout",
		"":                             "redstart: -: no Rollout found\n",
		"kind: Deployment\n":           "redstart: -: document 1: kind: Deployment of apiVersion \"\"; expected Rollout of rollouts.kruise.io/v1beta1 or v1alpha1\n",
		"a: [\n":                       "redstart: -: document 1: not YAML: ",
		fmt.Sprintf(one, "Not_a_name"): "it makes a Rollout that is not accepted: metadata.name",
	} {
		if code, out, errOut := call(t, in, "import", "-", "--from", "kruise-rollout"); code != exitFailed || out != "" || !strings.Contains(errOut, want) {
			t.Errorf("import of %q: %d\n%s%s", in, code, out, errOut)
		}
	}
	if code, _, errOut := call(t, two, "import", "-", "--from", "kruise-rollout", "--name", "c"); code != exitUsage || !strings.Contains(errOut, "--name: - has 2 Rollouts; leave it out") {
		t.Errorf("two Rollouts and one name: %d\n%s", code, errOut)
	}
}
