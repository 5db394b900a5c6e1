package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// LogOptions says what ReadLog writes; the zero value is all there is.
type LogOptions struct {
	// Since leaves out what is older.
	Since time.Time
	// Tail is the number of last lines, all when nil.
	Tail *int64
	// Timestamps puts the time before every line.
	Timestamps bool
	// LimitBytes ends the output after so many bytes, never when 0.
	LimitBytes int64
	// Follow goes on as the log grows, until this channel is closed and all is read; nil does not follow.
	Follow <-chan struct{}
}

// followEvery is how often a followed log is looked at.
const followEvery = 50 * time.Millisecond

// errLimit ends the output at LimitBytes.
var errLimit = errors.New("limit reached")

// ReadLog writes the lines of the log at path, of its rotated files too, to w. A log that does not exist is empty.
func ReadLog(ctx context.Context, path string, o LogOptions, w io.Writer) error {
	out := &logWriter{w: w, options: o}
	f, err := readWritten(ctx, path, o, out)
	if err == nil && f != nil && o.Follow != nil {
		f, err = follow(ctx, path, f, o.Follow, out)
	}
	if f != nil {
		_ = f.Close()
	}
	if err != nil && !errors.Is(err, errLimit) {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

// readWritten writes what there is, and returns the youngest file with its offset at the end.
func readWritten(ctx context.Context, path string, o LogOptions, out *logWriter) (*os.File, error) {
	var files []*os.File
	for i := logFiles - 1; i >= 0; i-- {
		f, err := os.Open(rotated(path, i))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, nil
	}
	if o.Tail != nil {
		skip, err := countLines(ctx, files, o)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		out.skip = max(0, skip-*o.Tail)
	}
	for i, f := range files {
		if err := copyLines(ctx, f, out); err != nil {
			closeAll(files[i:])
			return nil, err
		}
		if i < len(files)-1 {
			_ = f.Close()
		}
	}
	return files[len(files)-1], nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// countLines counts the whole lines that o would show, and rewinds the files.
func countLines(ctx context.Context, files []*os.File, o LogOptions) (int64, error) {
	counter := &logWriter{w: io.Discard, options: LogOptions{Since: o.Since}}
	for _, f := range files {
		if err := copyLines(ctx, f, counter); err != nil {
			return 0, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
	}
	return counter.lines, nil
}

// follow copies what is added to f, and goes on with the new file when the log is rotated. It returns the file that
// is open then.
func follow(ctx context.Context, path string, f *os.File, end <-chan struct{}, out *logWriter) (*os.File, error) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-ctx.Done():
			return f, nil
		case <-end:
			ended = true
		case <-tick.C:
		}
		if err := copyLines(ctx, f, out); err != nil {
			return f, err
		}
		next, err := os.Open(path)
		if err != nil {
			return f, nil // removed with its pod
		}
		if sameFile(f, next) {
			_ = next.Close()
			if ended {
				return f, nil
			}
			continue
		}
		err = copyLines(ctx, f, out) // what was added before the rotation
		_ = f.Close()
		f = next
		if err == nil {
			err = copyLines(ctx, f, out)
		}
		if err != nil || ended {
			return f, err
		}
	}
}

func sameFile(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// copyLines writes the whole lines from f's offset on; the offset stays before a line that is not whole yet.
func copyLines(ctx context.Context, f *os.File, out *logWriter) error {
	offset, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(f, 64<<10)
	for ctx.Err() == nil {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			_, err = f.Seek(offset, io.SeekStart)
			return err
		}
		if err != nil {
			return err
		}
		offset += int64(len(line))
		if err := out.line(line); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// logWriter writes stored lines as options want them.
type logWriter struct {
	w       io.Writer
	options LogOptions
	skip    int64 // whole lines to leave out first
	lines   int64 // whole lines seen that are young enough
	within  bool  // the last piece did not end its line
	written int64
}

// line takes one stored line with its newline. What is not in the form of the log is left out.
func (l *logWriter) line(stored []byte) error {
	stamp, rest, ok1 := bytes.Cut(stored, []byte{' '})
	_, rest, ok2 := bytes.Cut(rest, []byte{' '})
	tag, text, ok3 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 || !ok3 {
		return nil
	}
	if !l.options.Since.IsZero() {
		// A line without a time of its own is no line of this log.
		at, err := time.Parse(time.RFC3339Nano, string(stamp))
		if unknown := err != nil; unknown || at.Before(l.options.Since) {
			return nil //nolint:nilerr // it is skipped
		}
	}
	first := !l.within
	l.within = len(tag) > 0 && tag[0] == 'P'
	skip := l.lines < l.skip
	if l.within {
		text = text[:len(text)-1]
	} else {
		l.lines++
	}
	if skip {
		return nil
	}
	if l.options.Timestamps && first {
		text = bytes.Join([][]byte{stamp, text}, []byte{' '})
	}
	if limit := l.options.LimitBytes; limit > 0 && l.written+int64(len(text)) > limit {
		_, _ = l.w.Write(text[:limit-l.written])
		return errLimit
	}
	n, err := l.w.Write(text)
	l.written += int64(n)
	return err
}
