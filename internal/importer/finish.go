package importer

import (
	"regexp"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// imageOf joins a repository and a tag, wherever the chart has them. Tags without a repository are those of Redis' own image.
func (j *job) imageOf(repository string, tags ...string) {
	if j.get("spec.image") != nil {
		return
	}
	name, _ := j.given[repository].(string)
	tag := ""
	for _, t := range tags {
		if v, found := j.given[t]; found {
			tag = text(v)
			break
		}
	}
	if name == "" && tag == "" {
		return
	}
	if name == "" {
		name = "redis"
	}
	if tag == "" {
		tag = "latest"
	}
	j.spec["image"] = name + ":" + tag
}

var bitnamiTag = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*`)

// stockImage is the image of Redis itself, of the version of a Bitnami tag.
func (j *job) stockImage() {
	repository, _ := j.given["image.repository"].(string)
	tag := ""
	if v, found := j.given["image.tag"]; found {
		tag = text(v)
	}
	if repository == "" && tag == "" {
		return
	}
	if repository != "" && !strings.Contains(repository, "bitnami") {
		if registry, _ := j.given["image.registry"].(string); registry != "" {
			j.given["image.repository"] = registry + "/" + repository
		}
		j.imageOf("image.repository", "image.tag")
		j.refuseOldImage()
		return
	}
	version := bitnamiTag.FindString(tag)
	if version == "" {
		j.explainImage(nil, "Bitnami's images have scripts of their own; choose a stock image in spec.image")
		return
	}
	name := "redis:"
	if strings.Contains(repository, "valkey") {
		name = "valkey/valkey:"
	}
	j.spec["image"] = name + version
	j.explainImage([]string{"spec.image"}, "the stock image of the same version: Bitnami's have scripts of their own")
	j.refuseOldImage()
}

// oldImage finds the versions before 6.2 in the tags of Redis images, such as 5.0.6-alpine and redis-4.0.6.
var oldImage = regexp.MustCompile(`redis[^/:]*:(?:redis-|v)?(?:[2-5](?:[.-]|$)|6\.[01](?:[.-]|$))`)

// refuseOldImage leaves an image out that Redstart cannot run.
func (j *job) refuseOldImage() {
	if image, _ := j.spec["image"].(string); oldImage.MatchString(image) {
		delete(j.spec, "image")
		j.explainImage(nil, "members need Redis 6.2 or later, or Valkey; the default is "+v1alpha1.DefaultImage+", which loads the data of older versions")
	}
}

// explainImage changes what the lines say that the image is of.
func (j *job) explainImage(to []string, why string) {
	for i := range j.lines {
		l := &j.lines[i]
		if len(l.To) == 1 && l.To[0] == "spec.image" {
			l.To, l.Why = to, why
		}
	}
}

// withoutVolumes leaves nothing of volumes in a Redis that has none.
func (j *job) withoutVolumes() {
	s, ok := j.spec["storage"].(map[string]any)
	if !ok || s["ephemeral"] != true {
		return
	}
	j.spec["storage"] = map[string]any{"ephemeral": true}
	for i := range j.lines {
		l := &j.lines[i]
		if len(l.To) == 1 && strings.HasPrefix(l.To[0], "spec.storage.") && l.To[0] != "spec.storage.ephemeral" {
			l.To, l.Why = nil, "there are no volumes"
		}
	}
}
