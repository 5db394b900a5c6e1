package image_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"redstart.dev/redstart/internal/image"
)

var options = image.Options{Version: "v1.2.3", Revision: "abc", Created: time.Unix(1700000000, 0)}

// pack writes the program into a file of another directory each time, and packs it for two platforms.
func pack(t *testing.T, program string, o image.Options) ([]v1.Image, v1.ImageIndex) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	var images []v1.Image
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		img, err := image.Build(file, platform, o)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, img)
	}
	idx, err := image.Index(images, o)
	if err != nil {
		t.Fatal(err)
	}
	return images, idx
}

func digest(t *testing.T, idx v1.ImageIndex) string {
	t.Helper()
	d, err := idx.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func TestSameInputSameDigest(t *testing.T) {
	_, first := pack(t, "program", options)
	_, again := pack(t, "program", options)
	if a, b := digest(t, first), digest(t, again); a != b {
		t.Errorf("the same input gives %s and %s", a, b)
	}
	_, other := pack(t, "another program", options)
	later := options
	later.Version = "v1.2.4"
	_, renamed := pack(t, "program", later)
	for name, idx := range map[string]v1.ImageIndex{"another program": other, "another version": renamed} {
		if digest(t, idx) == digest(t, first) {
			t.Errorf("%s gives the same digest", name)
		}
	}
}

func TestFilesAndConfiguration(t *testing.T) {
	images, _ := pack(t, "program", options)
	config, err := images[1].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if config.OS != "linux" || config.Architecture != "arm64" || c.User != "65532:65532" || !cmp.Equal(c.Entrypoint, []string{"/usr/bin/redstart"}) {
		t.Errorf("platform %s/%s, user %s, entry point %q", config.OS, config.Architecture, c.User, c.Entrypoint)
	}
	if c.Labels["org.opencontainers.image.version"] != "v1.2.3" || c.Labels["org.opencontainers.image.revision"] != "abc" {
		t.Errorf("labels %v", c.Labels)
	}
	layers, err := images[0].Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, error %v; want one", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := map[string]string{}
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = h.FileInfo().Mode().String()
		if h.Name == "usr/bin/redstart" && string(b) != "program" {
			t.Errorf("the program is %q", b)
		}
		if h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(options.Created) {
			t.Errorf("%s belongs to %d:%d and is of %s", h.Name, h.Uid, h.Gid, h.ModTime)
		}
	}
	want := map[string]string{
		"etc/": "drwxr-xr-x", "etc/passwd": "-rw-r--r--", "etc/group": "-rw-r--r--", "tmp/": "dtrwxrwxrwx",
		"usr/": "drwxr-xr-x", "usr/bin/": "drwxr-xr-x", "usr/bin/redstart": "-rwxr-xr-x",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files:\n%s", d)
	}
}

// What was written can be read again by those who import it, and is whole.
func TestWritten(t *testing.T) {
	images, idx := pack(t, "program", options)
	dir := t.TempDir()
	for range 2 { // the second time it is replaced
		if err := image.WriteLayout(filepath.Join(dir, "image"), "redstart:v1", idx); err != nil {
			t.Fatal(err)
		}
	}
	top, err := layout.ImageIndexFromPath(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := top.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("index.json: %v, error %v; want one entry", m, err)
	}
	if m.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "v1" || m.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/library/redstart:v1" {
		t.Errorf("annotations of index.json: %v", m.Manifests[0].Annotations)
	}
	all, err := top.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(all); err != nil {
		t.Error(err)
	}
	platforms, err := all.IndexManifest()
	if err != nil || len(platforms.Manifests) != 2 || platforms.Manifests[1].Platform.String() != "linux/arm64" {
		t.Errorf("the platforms are %v, error %v", platforms, err)
	}

	for range 2 {
		if err := image.WriteArchive(filepath.Join(dir, "a.tar"), "registry.example.com:5000/redstart:v1", images[0]); err != nil {
			t.Fatal(err)
		}
	}
	img, err := tarball.ImageFromPath(filepath.Join(dir, "a.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "a.tar"))
	if err != nil || !bytes.Contains(b, []byte(`"RepoTags":["registry.example.com:5000/redstart:v1"]`)) {
		t.Errorf("the archive does not name the image; error %v", err)
	}
}

func TestMistakes(t *testing.T) {
	if _, err := image.Build("/no/such", "linux/amd64", options); err == nil {
		t.Error("a missing binary is no error")
	}
	if _, err := image.Build("/no/such", "linux/a/b/c", options); err == nil {
		t.Error("a bad platform is no error")
	}
	_, idx := pack(t, "program", options)
	if err := image.WriteLayout(t.TempDir(), "Not A Name", idx); err == nil {
		t.Error("a bad name is no error")
	}
}
