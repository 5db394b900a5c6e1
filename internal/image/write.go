package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Index joins the images of several platforms into one that every node picks its own from.
func Index(images []v1.Image, o Options) (v1.ImageIndex, error) {
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		config, err := img.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("read the configuration of an image: %w", err)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: config.Platform()}})
	}
	annotated, ok := mutate.Annotations(idx, labels(o)).(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("annotate the index: it is no index any more")
	}
	return annotated, nil
}

// WriteLayout writes an index as an OCI layout into a directory, which it replaces. Reference is the name that tools
// which import the directory give the image, such as redstart:v1.
func WriteLayout(dir, reference string, idx v1.ImageIndex) error {
	tag, err := parseTag(reference)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("replace the OCI layout: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("write the OCI layout: %w", err)
	}
	path, err := layout.Write(dir, mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if err == nil {
		err = path.AppendIndex(idx, layout.WithAnnotations(map[string]string{
			"org.opencontainers.image.ref.name": tag.TagStr(),
			"io.containerd.image.name":          fullName(tag),
		}))
	}
	if err != nil {
		return fmt.Errorf("write the OCI layout %s: %w", dir, err)
	}
	return nil
}

// WriteArchive writes the image of one platform as an archive that docker load, podman load and ctr images import take.
func WriteArchive(file, reference string, img v1.Image) error {
	tag, err := parseTag(reference)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		return fmt.Errorf("write the archive %s: %w", file, err)
	}
	return nil
}

// parseTag reads a name as docker does: redstart:v1 is docker.io/library/redstart:v1.
func parseTag(reference string) (name.Tag, error) {
	tag, err := name.NewTag(reference)
	if err != nil {
		return tag, fmt.Errorf("name of the image %q: %w; expected for example registry.example.com/redstart:v1", reference, err)
	}
	return tag, nil
}

// fullName is a name as nodes know it: that of Docker's registry is another in images than on the network.
func fullName(tag name.Tag) string {
	if rest, ok := strings.CutPrefix(tag.Name(), name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return tag.Name()
}
