// Package image builds the container image of Redstart: one static binary, a user who is not root, and nothing else. It
// needs no container daemon, and the same input gives the same image, byte for byte.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// Program is where the binary is in the image. It is not at the root, where pods mount their volumes.
	Program = "/usr/bin/redstart"
	// UserID is the user and the group that the image runs as, unless a pod says otherwise.
	UserID = 65532
)

// Options describe an image. They are part of its digest.
type Options struct {
	// Version and Revision are what the binary was built from: a tag, and a commit.
	Version, Revision string
	// Created is the time in the image and of its files, to the second. The commit's makes the image reproducible.
	Created time.Time
}

// Build makes the image of one platform, given as in Docker (linux/arm64), around the binary in a file.
func Build(binary, platform string, o Options) (v1.Image, error) {
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, fmt.Errorf("platform %q: %w; expected for example linux/amd64", platform, err)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("read the binary of the image: %w", err)
	}
	files, err := rootFilesystem(program, o.Created)
	if err != nil {
		return nil, fmt.Errorf("make the files of the image: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("compress the files of the image: %w", err)
	}
	created := v1.Time{Time: o.Created.UTC().Truncate(time.Second)}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant,
		Created: created,
		RootFS:  v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       fmt.Sprintf("%d:%d", UserID, UserID),
			Entrypoint: []string{Program},
			Env:        []string{"PATH=/usr/bin"},
			WorkingDir: "/",
			Labels:     labels(o),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("configure the image: %w", err)
	}
	img, err = mutate.Append(img, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: created, CreatedBy: "make image", Comment: "the redstart program"},
	})
	if err != nil {
		return nil, fmt.Errorf("put the files into the image: %w", err)
	}
	return img, nil
}

// labels are those that the OCI names; they are annotations of the index too.
func labels(o Options) map[string]string {
	l := map[string]string{
		"org.opencontainers.image.title":       "redstart",
		"org.opencontainers.image.description": "Highly available Redis and Valkey: operator, agent and command line",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.created":     o.Created.UTC().Format(time.RFC3339),
	}
	if o.Version != "" {
		l["org.opencontainers.image.version"] = o.Version
	}
	if o.Revision != "" {
		l["org.opencontainers.image.revision"] = o.Revision
	}
	return l
}

// rootFilesystem is all files of the image, as a tar.
func rootFilesystem(program []byte, modified time.Time) ([]byte, error) {
	id := strconv.Itoa(UserID)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		mode int64
		data []byte
	}{
		{"etc/", 0o755, nil},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:" + id + ":" + id + ":nonroot:/tmp:/sbin/nologin\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:" + id + ":\n")},
		{"tmp/", 0o1777, nil},
		{"usr/", 0o755, nil},
		{"usr/bin/", 0o755, nil},
		{Program[1:], 0o755, program},
	} {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data)),
			ModTime: modified.UTC().Truncate(time.Second), Format: tar.FormatPAX,
		}
		if f.data == nil {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
