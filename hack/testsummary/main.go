// Command testsummary reads the output of go test -json, prints each package's line and whatever failed, and closes
// with the number of tests: "N passed, N failed, N skipped". A test with subtests counts once, and each of them too.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is what go test -json prints for each thing that happens; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
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
			}
			for _, line := range output[k] {
				if measured(line) {
					fmt.Fprint(w, line)
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
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	return ok && count["fail"] == 0, nil
}

// measured tells the lines that tests print for people: those of the end-to-end scenarios begin with "measured:".
func measured(s string) bool { return strings.Contains(s, "measured:") }
