package traffic

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// AnnotationOriginal is the annotation of a routed object that keeps its original.
const AnnotationOriginal = "redstart.dev/rollout-original"

const (
	// keptSize bounds the annotation, in bytes. All annotations of an object together may have 256 KiB.
	keptSize = 128 << 10
	// keptPlain is the size up to which the original is kept as it is, for people to read.
	keptPlain = 4 << 10
	// keptUnpacked bounds what is unpacked from an annotation, which anybody may have written.
	keptUnpacked = 8 << 20

	packed = "gzip:"
)

// kept is what an annotation keeps: the original, and what was written last.
type kept struct {
	Owner    string `json:"rollout"`
	Original Data   `json:"original"`
	Applied  Data   `json:"applied"`
}

func (k kept) encode() (string, error) {
	text, err := json.Marshal(k)
	if err != nil {
		return "", fmt.Errorf("keep the original: %w", err)
	}
	if len(text) <= keptPlain {
		return string(text), nil
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		return "", fmt.Errorf("keep the original: %w", err)
	}
	if err := z.Close(); err != nil {
		return "", fmt.Errorf("keep the original: %w", err)
	}
	out := packed + base64.StdEncoding.EncodeToString(b.Bytes())
	if len(out) > keptSize {
		return "", fmt.Errorf("its original takes %d KiB packed, at most %d KiB can be kept in an annotation: split the object", len(out)>>10, keptSize>>10)
	}
	return out, nil
}

func decodeKept(note string) (kept, error) {
	var k kept
	text := []byte(note)
	if rest, ok := strings.CutPrefix(note, packed); ok {
		raw, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return k, err
		}
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return k, err
		}
		if text, err = io.ReadAll(io.LimitReader(z, keptUnpacked)); err != nil {
			return k, err
		}
	}
	// This decoder keeps integers integers, as those of an object from the API are.
	var fields map[string]any
	if err := utiljson.Unmarshal(text, &fields); err != nil {
		return k, err
	}
	var err error
	k.Owner, _ = fields["rollout"].(string)
	if k.Original, err = keptData(fields["original"]); err != nil {
		return k, err
	}
	k.Applied, err = keptData(fields["applied"])
	return k, err
}

func keptData(value any) (Data, error) {
	object, ok := value.(map[string]any)
	if !ok {
		return Data{}, fmt.Errorf("%s instead of an object", kindOf(value))
	}
	var d Data
	var err error
	d.Spec = object["spec"]
	if d.Labels, err = stringsFrom(object["labels"]); err != nil {
		return d, err
	}
	d.Annotations, err = stringsFrom(object["annotations"])
	return d, err
}
