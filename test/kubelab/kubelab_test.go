package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWrongUsage(t *testing.T) {
	l := &lab{run: t.TempDir()}
	if err := os.MkdirAll(l.dir("kn1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir("kn1"), specFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	side := func(a, b string) error {
		_, _, err := l.sides(a, b)
		return err
	}
	flags := func(args ...string) error {
		_, err := nodesFlag(args)
		return err
	}
	for name, err := range map[string]error{
		"a machine that there is not": side("kn1", "kn7"),
		"one machine on both sides":   side("kn1,host", "host"),
		"an empty side":               side("kn1", ""),
		"no nodes":                    flags("--nodes=0"),
		"too many nodes":              flags("--nodes=10"),
		"a number that is none":       flags("--nodes=x"),
		"an argument too many":        flags("3"),
		"a node that there is not":    l.node(context.Background(), "kill", "7"),
		"what no node can do":         l.node(context.Background(), "explode", "1"),
	} {
		if !errors.Is(err, errUsage) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; expected one line on wrong usage", name, err)
		}
	}
	if err := side("kn1", "host"); err != nil {
		t.Error(err)
	}
	if n, err := nodesFlag(nil); n != 3 || err != nil {
		t.Errorf("no flag: %d nodes, %v", n, err)
	}
}

func TestCertificates(t *testing.T) {
	l := &lab{run: t.TempDir()}
	if err := l.makePKI(); err != nil {
		t.Fatal(err)
	}
	read := func(name string) *x509.Certificate {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(l.pki(), name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	roots := x509.NewCertPool()
	roots.AddCert(read("ca.crt"))
	for file, o := range map[string]x509.VerifyOptions{
		"apiserver.crt":      {DNSName: controlIP, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		"kubelet-client.crt": {KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		"front-proxy.crt":    {KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	} {
		o.Roots = roots
		if _, err := read(file).Verify(o); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if info, err := os.Stat(l.kubeconfig()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v, %v", info, err)
	}
}

// TestLayer looks at the order in a layer: every directory before what is in it, and twice the same bytes.
func TestLayer(t *testing.T) {
	source := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(source, []byte("#!"), 0o600); err != nil {
		t.Fatal(err)
	}
	img := image{
		files: map[string]string{"/usr/bin/b": source, "/lib/x/y.so": source}, texts: map[string]string{"/etc/passwd": "root"},
		links: map[string]string{"/usr/bin/a": "b", "/bin": "usr/bin"}, dirs: []string{"/tmp"},
	}
	layer, err := img.layer()
	if err != nil {
		t.Fatal(err)
	}
	again, err := img.layer()
	if err != nil || !bytes.Equal(layer, again) {
		t.Errorf("the layer differs from itself, %v", err)
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if dir := filepath.Dir(strings.TrimSuffix(h.Name, "/")); dir != "." && !slices.Contains(names, dir+"/") {
			t.Errorf("%s comes before its directory", h.Name)
		}
		names = append(names, h.Name)
	}
	for _, want := range []string{"tmp/", "usr/bin/a", "usr/bin/b", "lib/x/y.so", "etc/passwd", "bin"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing in %v", want, names)
		}
	}
}

// TestTraefikVersion compares the version that Traefik is told with that of the module.
func TestTraefikVersion(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("modules", traefik.module, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(traefik.ldflags, "version.Version=")
	if version == "" || !strings.Contains(string(b), "github.com/traefik/traefik/v3 v"+version+" ") {
		t.Errorf("Traefik is told that it is %q, which its go.mod does not have", version)
	}
}
