// Command testsummary reads the output of go test -json, prints each package's line, whatever failed and why tests were
// skipped, and closes with the slowest tests and the number of all: "N passed, N failed, N skipped". A test with subtests
// counts once, and each of them too.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is what go test -json prints for each thing that happens; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

type key struct{ pkg, test string }

func main() {
	ok, err := summarize(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// summarize copies what matters from r to w and tells whether everything passed.
func summarize(r io.Reader, w io.Writer) (bool, error) {
	output := map[key][]string{}
	count := map[string]int{}
	var slowest []event
	ok := true
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text()) // of the go tool itself
			continue
		}
		k := key{e.Package, e.Test}
		switch e.Action {
		case "output", "build-output":
			if e.Test == "" && e.Action == "output" && e.Output != "PASS\n" {
				fmt.Fprint(w, e.Output) // the package's own line, and what it prints at its end
				continue
			}
			output[k] = append(output[k], e.Output)
		case "pass", "skip":
			if e.Test != "" {
				count[e.Action]++
				slowest = append(slowest, e)
			}
			for _, line := range output[k] {
				switch {
				case measured(line):
					fmt.Fprint(w, line)
				case e.Action == "skip" && said(line):
					fmt.Fprintf(w, "skipped %s: %s\n", e.Test, strings.TrimSpace(line))
				}
			}
			delete(output, k)
		case "fail", "build-fail":
			ok = false
			if e.Test != "" {
				count["fail"]++
			}
			fmt.Fprint(w, strings.Join(output[k], ""))
			delete(output, k)
		}
	}
	if err := lines.Err(); err != nil {
		return false, err
	}
	for _, rest := range output { // tests that never ended: their package was killed
		for _, line := range rest {
			if !ok {
				fmt.Fprint(w, line)
			}
		}
	}
	slices.SortStableFunc(slowest, func(a, b event) int { return cmp.Compare(b.Elapsed, a.Elapsed) })
	for i, e := range slowest {
		if i == slowestShown || e.Elapsed < slow {
			break
		}
		fmt.Fprintf(w, "slow: %5.0f s  %s\n", e.Elapsed, e.Test)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	return ok && count["fail"] == 0, nil
}

const (
	// slowestShown is how many of the slowest tests are listed, of those that took slow seconds at least.
	slowestShown = 25
	slow         = 15
)

// said tells the lines that a test itself wrote from those of go test.
func said(s string) bool { return strings.Contains(s, "_test.go:") }

// measured tells the lines that tests print for people: those of the end-to-end scenarios begin with "measured:".
func measured(s string) bool { return strings.Contains(s, "measured:") }
