// Command image builds the program for some platforms and packs it as a container image, without a container daemon:
//
//	dist/image/                   an OCI layout with all platforms
//	dist/redstart-OS-ARCH.tar     an archive of one platform, for docker load and ctr images import
//
// With the same sources, Go version and SOURCE_DATE_EPOCH the images are the same, byte for byte.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"redstart.dev/redstart/internal/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var b build
	flag.StringVar(&b.reference, "name", "redstart:latest", "`NAME` of the image, with its tag")
	flag.StringVar(&b.platforms, "platforms", "linux/amd64,linux/arm64", "`LIST` of platforms")
	flag.StringVar(&b.out, "out", "dist", "`DIR` to write to")
	flag.StringVar(&b.Version, "version", "unknown", "`VERSION` of the program")
	flag.StringVar(&b.Revision, "revision", "", "`COMMIT` of the sources")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "image: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

type build struct {
	reference, platforms, out string
	image.Options
}

func (b *build) run(ctx context.Context) error {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil && os.Getenv("SOURCE_DATE_EPOCH") != "" {
		return fmt.Errorf("SOURCE_DATE_EPOCH is %q; expected seconds since 1970", os.Getenv("SOURCE_DATE_EPOCH"))
	}
	b.Created = time.Unix(seconds, 0)
	tmp, err := os.MkdirTemp("", "redstart-image-")
	if err != nil {
		return fmt.Errorf("make a directory for the binaries: %w", err)
	}
	defer os.RemoveAll(tmp)

	var images []v1.Image
	for _, platform := range strings.Split(b.platforms, ",") {
		dashed := strings.ReplaceAll(platform, "/", "-")
		binary := filepath.Join(tmp, dashed)
		if err := b.compile(ctx, platform, binary); err != nil {
			return err
		}
		img, err := image.Build(binary, platform, b.Options)
		if err != nil {
			return err
		}
		archive := filepath.Join(b.out, "redstart-"+dashed+".tar")
		if err := image.WriteArchive(archive, b.reference, img); err != nil {
			return err
		}
		digest, err := img.Digest()
		if err != nil {
			return fmt.Errorf("digest of the image of %s: %w", platform, err)
		}
		fmt.Printf("%-14s %s  %s\n", platform, digest, archive)
		images = append(images, img)
	}
	idx, err := image.Index(images, b.Options)
	if err != nil {
		return err
	}
	digest, err := idx.Digest()
	if err != nil {
		return fmt.Errorf("digest of the index: %w", err)
	}
	dir := filepath.Join(b.out, "image")
	if err := image.WriteLayout(dir, b.reference, idx); err != nil {
		return err
	}
	fmt.Printf("%-14s %s  %s\n", "all", digest, dir)
	return nil
}

// compile builds the program as make build does.
func (b *build) compile(ctx context.Context, platform, to string) error {
	goos, goarch, ok := strings.Cut(platform, "/")
	if !ok {
		return fmt.Errorf("platform %q: expected OS/ARCHITECTURE, for example linux/amd64", platform)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+b.Version, "-o", to, "./cmd/redstart")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the program for %s: %w", platform, err)
	}
	return nil
}
