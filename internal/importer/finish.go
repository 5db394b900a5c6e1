package importer

import (
	"fmt"
	"regexp"
	"strings"
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
			tag = fmt.Sprint(v)
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
		tag = fmt.Sprint(v)
	}
	if repository == "" && tag == "" {
		return
	}
	if repository != "" && !strings.Contains(repository, "bitnami") {
		if registry, _ := j.given["image.registry"].(string); registry != "" {
			j.given["image.repository"] = registry + "/" + repository
		}
		j.imageOf("image.repository", "image.tag")
		return
	}
	version := bitnamiTag.FindString(tag)
	if version == "" {
		j.explain("image.", nil, "Bitnami's images have scripts of their own; choose a stock image in spec.image")
		return
	}
	name := "redis:"
	if strings.Contains(repository, "valkey") {
		name = "valkey/valkey:"
	}
	j.spec["image"] = name + version
	j.explain("image.", []string{"spec.image"}, "the stock image of the same version: Bitnami's have scripts of their own")
}

// explain changes what the lines of a part of the values say, where they say nothing yet.
func (j *job) explain(prefix string, to []string, why string) {
	for i := range j.lines {
		l := &j.lines[i]
		if strings.HasPrefix(l.Path, prefix) && len(l.To) == 1 && l.To[0] == "spec.image" {
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
