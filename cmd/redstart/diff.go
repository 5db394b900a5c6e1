package main

import (
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// diffContext is how many equal lines are shown around a difference.
const diffContext = 3

// diffYAML compares two values as YAML, line by line: "-" is in the first alone, "+" in the second. Of long stretches
// that are equal only the ends are shown. It is empty if the values are equal.
func diffYAML(from, to any) string {
	return diffLines(yamlLines(from), yamlLines(to))
}

func yamlLines(value any) []string {
	text, err := yaml.Marshal(value)
	if err != nil {
		text = fmt.Append(nil, err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func diffLines(from, to []string) string {
	// length[i][j] is the longest common subsequence of from[i:] and to[j:].
	length := make([][]int, len(from)+1)
	for i := range length {
		length[i] = make([]int, len(to)+1)
	}
	for i := len(from) - 1; i >= 0; i-- {
		for j := len(to) - 1; j >= 0; j-- {
			if from[i] == to[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var lines []string
	var differs []int
	for i, j := 0, 0; i < len(from) || j < len(to); {
		switch {
		case i < len(from) && j < len(to) && from[i] == to[j]:
			lines = append(lines, "  "+from[i])
			i, j = i+1, j+1
		case j == len(to) || i < len(from) && length[i+1][j] >= length[i][j+1]:
			differs = append(differs, len(lines))
			lines = append(lines, "- "+from[i])
			i++
		default:
			differs = append(differs, len(lines))
			lines = append(lines, "+ "+to[j])
			j++
		}
	}
	var b strings.Builder
	shown := 0
	for _, at := range differs {
		start := max(shown, at-diffContext)
		if start > shown {
			b.WriteString("  ...\n")
		}
		for end := min(at+diffContext+1, len(lines)); start < end; start++ {
			b.WriteString(lines[start] + "\n")
		}
		shown = start
	}
	if len(differs) > 0 && shown < len(lines) {
		b.WriteString("  ...\n")
	}
	return b.String()
}
