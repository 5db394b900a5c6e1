package kubelet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// mountVolumes makes the directories of the pod's volumes and returns them by name. An error is a waitError when it
// may pass by itself.
func (w *worker) mountVolumes() (map[string]string, error) {
	pod := w.current()
	mounts := map[string]string{}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		dir := filepath.Join(w.k.podDir(w.uid), "volumes", v.Name)
		if c := v.PersistentVolumeClaim; c != nil {
			if err := w.checkClaim(pod.Namespace, c.ClaimName); err != nil {
				return nil, err
			}
			dir = w.k.claimDir(pod.Namespace, c.ClaimName)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make volume %q: %w", v.Name, err)
		}
		if err := w.writeFiles(pod, v, dir); err != nil {
			return nil, err
		}
		mounts[v.Name] = dir
	}
	return mounts, nil
}

// checkClaim waits for a claim to be there and bound.
func (w *worker) checkClaim(namespace, name string) error {
	claim, err := cached(w.ctx, w.k.cache, namespace, name, &corev1.PersistentVolumeClaim{})
	if err != nil {
		return fmt.Errorf("read claim %q: %w", name, err)
	}
	switch {
	case claim == nil:
		return &waitError{"ContainerCreating", fmt.Sprintf("persistentvolumeclaim %q not found", name)}
	case claim.Status.Phase != corev1.ClaimBound:
		return &waitError{"ContainerCreating", fmt.Sprintf("persistentvolumeclaim %q is not bound yet", name)}
	}
	return nil
}

// refreshFiles brings the volumes of ConfigMaps and Secrets up to date. What is missing leaves them as they are.
func (w *worker) refreshFiles() {
	w.mu.Lock()
	pod, mounts := w.pod, w.at.mounts
	w.mu.Unlock()
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if mounts[v.Name] == "" || v.ConfigMap == nil && v.Secret == nil {
			continue
		}
		if err := w.writeFiles(pod, v, mounts[v.Name]); err != nil {
			w.log.Debug("A volume is not brought up to date", "volume", v.Name, "error", err)
		}
	}
}

// writeFiles writes the files of a ConfigMap or Secret volume.
func (w *worker) writeFiles(pod *corev1.Pod, v *corev1.Volume, dir string) error {
	from := w.k.objects(w.ctx, pod.Namespace)
	data := map[string][]byte{}
	switch {
	case v.ConfigMap != nil:
		cm, err := getConfigMap(from, v.ConfigMap.Name, v.ConfigMap.Optional)
		if err != nil {
			return err
		}
		if cm != nil {
			for k, s := range cm.Data {
				data[k] = []byte(s)
			}
			maps.Copy(data, cm.BinaryData)
		}
		return project(dir, v.Name, data, v.ConfigMap.Items, mode(v.ConfigMap.DefaultMode, 0o644), 0o777, v.ConfigMap.Optional)
	case v.Secret != nil:
		s, err := getSecret(from, v.Secret.SecretName, v.Secret.Optional)
		if err != nil {
			return err
		}
		if s != nil {
			data = s.Data
		}
		// On a machine with other users a secret is nobody else's.
		return project(dir, v.Name, data, v.Secret.Items, mode(v.Secret.DefaultMode, 0o600), 0o700, v.Secret.Optional)
	}
	return nil
}

func mode(m *int32, otherwise fs.FileMode) fs.FileMode {
	if m == nil {
		return otherwise
	}
	return fs.FileMode(*m) & fs.ModePerm
}

// project writes what items choose of data (all of it without items) to dir, each file's mode within mask.
func project(dir, volume string, data map[string][]byte, items []corev1.KeyToPath, mode, mask fs.FileMode, optional *bool) error {
	files := map[string]projected{}
	if len(items) == 0 {
		for k, b := range data {
			files[k] = projected{b, mode & mask}
		}
	}
	for _, item := range items {
		b, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return configError("volume %q refers to key %q, which is not there", volume, item.Key)
		}
		if !filepath.IsLocal(item.Path) {
			return configError("volume %q: path %q leaves the volume", volume, item.Path)
		}
		m := mode
		if item.Mode != nil {
			m = fs.FileMode(*item.Mode) & fs.ModePerm
		}
		files[item.Path] = projected{b, m & mask}
	}
	if err := writeAtomically(dir, files); err != nil {
		return fmt.Errorf("write volume %q: %w", volume, err)
	}
	return nil
}

// projected is a file of a ConfigMap or Secret volume.
type projected struct {
	data []byte
	mode fs.FileMode
}

// dataLink is the symlink to the files in force, as in every kubelet.
const dataLink = "..data"

// writeAtomically makes dir hold files, all at once for whoever reads them: the files are in a directory named by
// their content, ..data is a symlink to it, and the names that readers use are symlinks through ..data.
func writeAtomically(dir string, files map[string]projected) error {
	version := ".." + digest(files)
	link := filepath.Join(dir, dataLink)
	old, err := os.Readlink(link)
	if err == nil && old == version {
		return nil
	}
	for name, f := range files {
		path := filepath.Join(dir, version, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.data, 0o600); err != nil {
			return err
		}
		if err := os.Chmod(path, f.mode); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, version), 0o755); err != nil {
		return err
	}
	next := link + "_next"
	_ = os.Remove(next) // of a run that was cut short
	if err := os.Symlink(version, next); err != nil {
		return err
	}
	if err := os.Rename(next, link); err != nil {
		return err
	}
	return tidy(dir, version, files)
}

// tidy makes the links that readers use, and removes those of files that are gone and the former version.
func tidy(dir, version string, files map[string]projected) error {
	tops := map[string]bool{dataLink: true, version: true}
	for name := range files {
		top, _, _ := strings.Cut(filepath.ToSlash(name), "/")
		tops[top] = true
		link := filepath.Join(dir, top)
		if _, err := os.Lstat(link); err == nil {
			continue
		}
		if err := os.Symlink(filepath.Join(dataLink, top), link); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !tops[e.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// digest tells one content of a volume from another.
func digest(files map[string]projected) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		_, _ = fmt.Fprintf(h, "%s\x00%o\x00%d\x00", name, f.mode, len(f.data))
		_, _ = h.Write(f.data)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}
