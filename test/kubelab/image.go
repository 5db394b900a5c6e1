package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// redisTags are the images of Redis that the lab has. All of them hold Debian's redis-server, whatever their tag says:
// the first is the default of a Redis, the second is there to be upgraded to.
var redisTags = []string{"redis:7.2", "redis:8.0"}

// redstartImage is the image of the program under test, and redstartTags are its other names: one to upgrade to, and the
// one that the examples have.
const redstartImage = "redstart:dev"

var redstartTags = []string{"redstart:next", "redstart:latest"}

const pauseImage = "kubelab/pause:1"

// image is one layer and how it is run.
type image struct {
	name    string   // of its file
	tags    []string // NAME:TAG on docker.io
	files   map[string]string
	links   map[string]string
	dirs    []string
	texts   map[string]string
	command []string
	user    string
}

// makeImages makes the archives of all images that the nodes import, and returns their paths.
func (l *lab) makeImages(ctx context.Context) ([]string, error) {
	redstart, err := l.buildRedstart(ctx)
	if err != nil {
		return nil, err
	}
	archives := []string{redstart}
	pause := filepath.Join(l.cache, "bin", "pause")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", pause, "./pause")
	cmd.Dir, cmd.Env = l.source, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if err := runQuiet(cmd); err != nil {
		return nil, fmt.Errorf("build pause: %w", err)
	}
	redis, err := redisImage(ctx)
	if err != nil {
		return nil, err
	}
	coredns, err := filepath.EvalSymlinks(l.program("coredns"))
	if err != nil {
		return nil, fmt.Errorf("find coredns: %w", err)
	}
	images := []image{
		{name: "pause", tags: []string{pauseImage}, files: map[string]string{"/pause": pause}, command: []string{"/pause"}, user: "65535:65535"},
		{name: "coredns", tags: []string{"kubelab/coredns:1"}, files: map[string]string{"/coredns": coredns}, command: []string{"/coredns"}},
		redis,
	}
	for _, img := range images {
		file, err := l.archive(img)
		if err != nil {
			return nil, fmt.Errorf("make the image %s: %w", img.name, err)
		}
		archives = append(archives, file)
	}
	return archives, nil
}

// buildRedstart makes the image of the program under test as a release is made, and returns its archive.
func (l *lab) buildRedstart(ctx context.Context) (string, error) {
	dir := filepath.Join(l.cache, "redstart")
	cmd := exec.CommandContext(ctx, "go", "run", "./hack/image", "-name", redstartImage, "-platforms", "linux/"+runtime.GOARCH, "-out", dir)
	cmd.Dir = l.repository()
	if err := runQuiet(cmd); err != nil {
		return "", fmt.Errorf("make the image of redstart: %w", err)
	}
	return filepath.Join(dir, "redstart-linux-"+runtime.GOARCH+".tar"), nil
}

// importCommands are what gives containerd the images of some archives.
func importCommands(archives []string) [][]string {
	ctr := []string{"ctr", "-n", "k8s.io", "images"}
	var all [][]string
	for _, file := range archives {
		all = append(all, append(ctr[:4:4], "import", file))
	}
	for _, tag := range redstartTags {
		all = append(all, append(ctr[:4:4], "tag", "--force", "docker.io/library/"+redstartImage, "docker.io/library/"+tag))
	}
	return all
}

// redisImage is Debian's redis-server with the libraries that it needs and busybox for a shell.
func redisImage(ctx context.Context) (image, error) {
	img := image{
		name: "redis", tags: redisTags, files: map[string]string{}, links: map[string]string{},
		dirs: []string{"/tmp", "/data"}, command: []string{"redis-server"},
		texts: map[string]string{
			"/etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nredis:x:999:999::/data:/bin/sh\n",
			"/etc/group":         "root:x:0:\nredis:x:999:\n",
			"/etc/nsswitch.conf": "hosts: files dns\n",
		},
	}
	for _, name := range []string{"redis-server", "redis-cli", "busybox"} {
		found, err := exec.LookPath(name)
		if err != nil {
			return image{}, fmt.Errorf("find %s: %w", name, err)
		}
		if err := img.add(ctx, "/usr/bin/"+name, found); err != nil {
			return image{}, err
		}
	}
	img.links["/usr/bin/redis-sentinel"] = "redis-server"
	out, err := exec.CommandContext(ctx, "busybox", "--list").Output()
	if err != nil {
		return image{}, fmt.Errorf("list what busybox has: %w", err)
	}
	for _, applet := range strings.Fields(string(out)) {
		if name := "/usr/bin/" + applet; applet != "busybox" {
			img.links[name] = "busybox"
		}
	}
	img.links["/bin"] = "usr/bin"
	return img, nil
}

// add puts a program into an image, with the libraries that it needs.
func (img *image) add(ctx context.Context, name, program string) error {
	libraries, err := librariesOf(ctx, program)
	if err != nil {
		return err
	}
	img.files[name] = program
	for _, lib := range libraries {
		img.files[lib] = lib
	}
	return nil
}

var libraryPath = regexp.MustCompile(`/[^ ]+\.so[^ ]*`)

// librariesOf are the shared libraries of a program, none for a static one.
func librariesOf(ctx context.Context, program string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", program).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not a dynamic executable") {
		return nil, fmt.Errorf("list the libraries of %s: %w: %s", program, err, lastLines(string(out), 3))
	}
	return libraryPath.FindAllString(string(out), -1), nil
}

// archive writes an image in the form of "docker save" into the cache, unless it is there.
func (l *lab) archive(img image) (string, error) {
	key, err := img.key()
	if err != nil {
		return "", err
	}
	file := filepath.Join(l.cache, "images", img.name+"-"+key+".tar")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	old, _ := filepath.Glob(filepath.Join(l.cache, "images", img.name+"-*.tar"))
	for _, o := range old {
		_ = os.Remove(o)
	}
	layer, err := img.layer()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(layer)
	type object = map[string]any
	config, err := json.Marshal(object{
		"architecture": runtime.GOARCH, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": object{"Cmd": nil, "Entrypoint": img.command, "User": img.user, "WorkingDir": "/", "Env": []string{"PATH=/usr/bin:/bin"}},
		"rootfs": object{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return "", err
	}
	var tags []string
	for _, t := range img.tags {
		if !strings.Contains(t, "/") {
			t = "library/" + t
		}
		tags = append(tags, "docker.io/"+t)
	}
	manifest, err := json.Marshal([]object{{"Config": "config.json", "RepoTags": tags, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, part := range []struct {
		name string
		data []byte
	}{{"manifest.json", manifest}, {"config.json", config}, {"layer.tar", layer}} {
		if err := writeEntry(w, part.name, 0o644, part.data); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	return file, writeWhole(file, b.Bytes(), 0o644)
}

// key tells two contents of an image apart.
func (img *image) key() (string, error) {
	var files []string
	for _, source := range img.files {
		files = append(files, source)
	}
	slices.Sort(files)
	rest := fmt.Sprint(img.tags, img.links, img.dirs, img.texts, img.command, img.user)
	return keyOf(slices.Compact(files), rest)
}

func (img *image) layer() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	parents := map[string]bool{"/": true, ".": true}
	for _, name := range sortedKeys(img.links) {
		if name == "/bin" { // a link in place of a directory comes before what would make that
			parents[name] = true
		}
	}
	for _, dir := range img.dirs {
		parents[dir] = true
		if err := writeHeader(w, &tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: 0o1777}); err != nil {
			return nil, err
		}
	}
	var parent func(name string) error
	parent = func(name string) error {
		dir := path.Dir(name)
		if parents[dir] {
			return nil
		}
		parents[dir] = true
		if err := parent(dir); err != nil {
			return err
		}
		return writeHeader(w, &tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: 0o755})
	}
	for _, name := range sortedKeys(img.files) {
		data, err := os.ReadFile(img.files[name])
		if err != nil {
			return nil, err
		}
		if err := parent(name); err != nil {
			return nil, err
		}
		if err := writeEntry(w, name[1:], 0o755, data); err != nil {
			return nil, err
		}
	}
	for _, name := range sortedKeys(img.texts) {
		if err := parent(name); err != nil {
			return nil, err
		}
		if err := writeEntry(w, name[1:], 0o644, []byte(img.texts[name])); err != nil {
			return nil, err
		}
	}
	for _, name := range sortedKeys(img.links) {
		if err := parent(name); err != nil {
			return nil, err
		}
		if err := writeHeader(w, &tar.Header{Typeflag: tar.TypeSymlink, Name: name[1:], Linkname: img.links[name], Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writeHeader(w *tar.Writer, h *tar.Header) error {
	h.Format = tar.FormatPAX
	return w.WriteHeader(h)
}

func writeEntry(w *tar.Writer, name string, mode int64, data []byte) error {
	if err := writeHeader(w, &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := io.Copy(w, bytes.NewReader(data))
	return err
}

// writeWhole writes a file so that it is there whole or not at all.
func writeWhole(file string, data []byte, mode os.FileMode) error {
	if err := os.WriteFile(file+".new", data, mode); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
