package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	// maxLogLine is the longest piece of a line that is stored as one; a longer line is stored in pieces.
	maxLogLine = 16 << 10
	// maxLogSize is when a log file is rotated, and logFiles how many are kept with the one that is written.
	maxLogSize = 10 << 20
	logFiles   = 3
)

// Log is a rotated log file in the form of Kubernetes' container logs: a line is "TIME STREAM F TEXT", or P instead
// of F for a piece of a line that goes on. Rotated files are PATH.1 and PATH.2.
type Log struct {
	path    string
	maxSize int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// CreateLog opens the log at path, and appends to it if it exists.
func CreateLog(path string) (*Log, error) {
	l := &Log{path: path, maxSize: maxLogSize}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("open log: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Close closes the file. Writers of the log fail from then on.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

// Stream is a writer whose lines are stored as stream's (stdout or stderr). Close it to store what has no newline.
func (l *Log) Stream(stream string) io.WriteCloser { return &logStream{log: l, name: stream} }

type logStream struct {
	log     *Log
	name    string
	pending []byte // the begin of a line, shorter than maxLogLine
}

func (s *logStream) Write(p []byte) (int, error) {
	now := time.Now()
	s.pending = append(s.pending, p...)
	for {
		var err error
		if i := bytes.IndexByte(s.pending, '\n'); i >= 0 && i <= maxLogLine {
			err = s.log.append(now, s.name, 'F', s.pending[:i])
			s.pending = s.pending[i+1:]
		} else if len(s.pending) > maxLogLine {
			err = s.log.append(now, s.name, 'P', s.pending[:maxLogLine])
			s.pending = s.pending[maxLogLine:]
		} else {
			s.pending = append([]byte(nil), s.pending...) // let go of what was written
			return len(p), nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func (s *logStream) Close() error {
	if len(s.pending) == 0 {
		return nil
	}
	text := s.pending
	s.pending = nil
	return s.log.append(time.Now(), s.name, 'F', text)
}

func (l *Log) append(at time.Time, stream string, tag byte, text []byte) error {
	b := make([]byte, 0, len(text)+len(time.RFC3339Nano)+16)
	b = at.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, ' ')
	b = append(b, stream...)
	b = append(b, ' ', tag, ' ')
	b = append(b, text...)
	b = append(b, '\n')

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > l.maxSize {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	return err
}

// rotate makes PATH.1 of the file, and PATH.2 of the former PATH.1.
func (l *Log) rotate() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	for i := logFiles - 1; i > 0; i-- {
		if err := os.Rename(rotated(l.path, i-1), rotated(l.path, i)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	return l.open()
}

// rotated is the name of the i-th youngest file of a log.
func rotated(path string, i int) string {
	if i == 0 {
		return path
	}
	return path + "." + strconv.Itoa(i)
}

// RemoveLog removes the log at path and its rotated files.
func RemoveLog(path string) {
	for i := range logFiles {
		_ = os.Remove(rotated(path, i))
	}
}
