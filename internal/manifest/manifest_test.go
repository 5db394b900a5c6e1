package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const validRedis = `apiVersion: redstart.dev/v1alpha1
kind: Redis
metadata:
  name: cache
spec:
  mode: Sentinel
  storage: {size: 1Gi}
  sentinel: {downAfter: 5s}
`

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		want       []string
	}{
		{name: "valid", yaml: validRedis},
		{
			name: "unknown field",
			yaml: strings.Replace(validRedis, "mode:", "modus: x\n  mode:", 1),
			want: []string{`f.yaml: document 1 (Redis cache): spec.modus: unknown field; did you mean "mode"?`},
		},
		{
			name: "bad quantity",
			yaml: strings.Replace(validRedis, "1Gi", "1Gib", 1),
			want: []string{`f.yaml: document 1 (Redis cache): spec.storage.size: "1Gib" is not a quantity; write a number with an optional unit, such as 500m, 2, 512Mi or 10Gi`},
		},
		{
			name: "bad duration",
			yaml: strings.Replace(validRedis, "5s", "5 seconds", 1),
			want: []string{`f.yaml: document 1 (Redis cache): spec.sentinel.downAfter: "5 seconds" is not a duration; write a number with a unit, such as 500ms, 5s or 2m`},
		},
		{
			name: "wrong types, all of them",
			yaml: validRedis + "  replicas: \"3\"\n  config: {appendonly: yes, maxmemory: 100}\n  users: {}\n",
			want: []string{
				`f.yaml: document 1 (Redis cache): spec.config.appendonly: expected a string, got true; write "true" in quotes (yes, no, on and off need them too)`,
				`f.yaml: document 1 (Redis cache): spec.config.maxmemory: expected a string, got the number 100; write "100" in quotes`,
				`f.yaml: document 1 (Redis cache): spec.replicas: expected a whole number, got the string "3"; write it without quotes`,
				`f.yaml: document 1 (Redis cache): spec.users: expected a list, got an object`,
			},
		},
		{
			name: "no name, no kind",
			yaml: "apiVersion: v1\nmetadata: {}\n",
			want: []string{
				`f.yaml: document 1: kind: missing; expected a string such as Deployment`,
				`f.yaml: document 1: metadata.name: missing; give the object a name`,
			},
		},
		{
			name: "a namespace that is no name",
			yaml: strings.Replace(validRedis, "name: cache", "name: cache\n  namespace: My Team", 1),
			want: []string{`f.yaml: document 1 (Redis cache): metadata.namespace: "My Team" is not a name; use lower case letters, digits and '-'`},
		},
		{
			name: "misspelt kind",
			yaml: "apiVersion: apps/v1\nkind: Deploymant\nmetadata: {name: web}\n",
			want: []string{`f.yaml: document 1 (Deploymant web): kind: apps/v1 Deploymant is not known; check the spelling of kind and apiVersion`},
		},
		{
			name: "twice",
			yaml: validRedis + "---\n" + validRedis,
			want: []string{`f.yaml: document 2 (Redis cache): defined twice; the first is f.yaml: document 1 (Redis cache)`},
		},
		{
			name: "a password from a file",
			yaml: validRedis + "  auth: {secretName: mine}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: mine}\ndata: {password: czNjcmV0Cg==}\n",
			want: []string{`f.yaml: document 2 (Secret mine): data.password: the password of Redis cache ends with a line end, as a file does; leave it out (printf %s PASSWORD >FILE, or --from-literal)`},
		},
		{
			name: "a password with a tab, of the Secret named like the Redis",
			yaml: validRedis + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: cache}\nstringData: {password: \"a\\tb\"}\n",
			want: []string{`f.yaml: document 2 (Secret cache): stringData.password: the password of Redis cache has the control character U+0009 as byte 2, which Sentinels refuse; leave it out`},
		},
		{
			name: "no password",
			yaml: validRedis + "  auth: {secretName: mine}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: mine}\nstringData: {pass: word}\n",
			want: []string{`f.yaml: document 2 (Secret mine): data.password: the password of Redis cache is empty; write one`},
		},
		{
			name: "passwords that nobody asks for",
			yaml: validRedis + "  auth: {enabled: false}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: cache}\nstringData: {password: \"a\\n\"}\n---\n" +
				"apiVersion: v1\nkind: Secret\nmetadata: {name: other}\nstringData: {password: \"a\\n\"}\n",
		},
		{
			name: "kinds of others are left to the server",
			yaml: "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: web}\nspec: {any: thing}\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docs, problems := Parse("f.yaml", []byte(tt.yaml))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if diff := cmp.Diff(tt.want, lines(Validate(docs))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		docs       int
		want       []string
	}{
		{name: "several documents, empty ones and comments", yaml: "# first\n---\na: 1\n---\n---\nb: 2\n--- # third\nc: 3\n", docs: 3},
		{name: "a List", yaml: "kind: List\nitems: [{kind: A}, {kind: B}]\n", docs: 2},
		{
			name: "the line is that of the file", yaml: "a: 1\n---\nb: 1\nc: [\n",
			docs: 1, want: []string{"f.yaml: document 2: line 4: not valid YAML: did not find expected node content"},
		},
		{name: "a scalar", yaml: "hello\n", want: []string{"f.yaml: document 1: not an object; expected fields such as apiVersion, kind and metadata"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docs, problems := Parse("f.yaml", []byte(tt.yaml))
			if len(docs) != tt.docs {
				t.Errorf("%d documents, want %d", len(docs), tt.docs)
			}
			if diff := cmp.Diff(tt.want, lines(problems.Err())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.yaml": "kind: B\n", "a.yml": "kind: A\n", "note.txt": "no", "sub/c.json": `{"kind": "C"}`} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kinds := func(paths []string, recursive bool) string {
		docs, err := Load(paths, recursive, strings.NewReader("kind: Stdin\n"))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, d := range docs {
			out = append(out, d.Object.GetKind())
		}
		return strings.Join(out, " ")
	}
	if got := kinds([]string{dir}, false); got != "A B" {
		t.Errorf("a directory holds %q, want A B", got)
	}
	if got := kinds([]string{dir, "-"}, true); got != "A B C Stdin" {
		t.Errorf("a directory, recursively, and standard input hold %q, want A B C Stdin", got)
	}
	_, err := Load([]string{filepath.Join(dir, "none.yaml")}, false, nil)
	want := []string{filepath.Join(dir, "none.yaml") + ": cannot be read: no such file or directory"}
	if diff := cmp.Diff(want, lines(err)); diff != "" {
		t.Error(diff)
	}
}

func TestMissingSecrets(t *testing.T) {
	const docs = validRedis + `  auth: {secretName: mine}
---
apiVersion: redstart.dev/v1alpha1
kind: Redis
metadata: {name: other}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
      - name: web
        env:
        - name: OTHER
          valueFrom: {secretKeyRef: {name: other, key: password}}
        - name: OPTIONAL
          valueFrom: {secretKeyRef: {name: absent, key: password, optional: true}}
        envFrom:
        - secretRef: {name: given}
        - secretRef: {name: forgotten}
---
apiVersion: v1
kind: Secret
metadata: {name: given}
`
	parsed, problems := Parse("f.yaml", []byte(docs))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var got []string
	for _, r := range MissingSecrets(parsed, "default") {
		got = append(got, r.Problem().Error())
	}
	want := []string{
		`f.yaml: document 3 (Deployment web): spec.template.spec.containers[0].envFrom[1].secretRef.name: Secret "forgotten" does not exist in namespace "default"; create it, or add it to the files`,
		`f.yaml: document 1 (Redis cache): spec.auth.secretName: Secret "mine" does not exist in namespace "default"; create it, or add it to the files`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(validRedis)
	f.Add("kind: List\nitems: [1]\n---\n")
	f.Fuzz(func(_ *testing.T, text string) {
		docs, _ := Parse("f.yaml", []byte(text))
		_ = Validate(docs)
		_ = MissingSecrets(docs, "default")
	})
}

func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}
